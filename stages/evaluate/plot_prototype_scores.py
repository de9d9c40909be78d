"""Draw the scores of prototypes, and how much of them the window gives away."""

from winnow.pipeline import stage


@stage
def plot_prototype_scores(inputs, outputs, params, log):
    """Draw consistency over windows with its nulls, and both scores of each network."""
    import pyarrow as pa

    from winnow.evaluate import prototype_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    curves = pa.concat_tables([read_parquet(path) for path in inputs.curve])
    save_chart(prototype_charts.window_curves(curves), outputs.windows)
    save_chart(prototype_charts.two_scores(read_metrics(inputs.metrics)), outputs.scores)
