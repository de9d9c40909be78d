"""Draw the scores of prototypes, and how much of them the window gives away."""

from winnow.pipeline import stage


@stage
def plot_prototype_scores(inputs, outputs, params, log):
    """Draw consistency over windows with its nulls, scores of each network and prototype, and what two of them see."""
    import pyarrow as pa

    from winnow.evaluate import prototype_charts, strip_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    curves = pa.concat_tables([read_parquet(path) for path in inputs.curve])
    save_chart(prototype_charts.window_curves(curves), outputs.windows)
    metrics = read_metrics(inputs.metrics)
    save_chart(prototype_charts.two_scores(metrics), outputs.scores)
    save_chart(prototype_charts.accuracy_and_consistency(metrics), outputs.accuracy)
    prototypes = pa.concat_tables([read_parquet(path) for path in inputs.prototypes])
    save_chart(strip_charts.prototypes(prototypes), outputs.prototypes)
    save_chart(strip_charts.strips(pa.concat_tables([read_parquet(path) for path in inputs.strips])), outputs.strips)
