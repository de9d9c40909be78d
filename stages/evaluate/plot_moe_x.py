"""Draw loss, sparsity and meaning of dense layers and of experts."""

from winnow.pipeline import stage


@stage
def plot_moe_x(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import moe_x_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    features, experts = (
        [row for path in paths for row in read_parquet(path).to_pylist()] for paths in (inputs.features, inputs.experts)
    )
    save_chart(charts.scores(read_metrics(inputs.metrics)), outputs.scores)
    save_chart(charts.experts(experts), outputs.experts)
    save_chart(charts.contexts(features), outputs.contexts)
    save_chart(charts.encoders(read_parquet(inputs.encoders[0]).to_pylist()), outputs.encoders)
