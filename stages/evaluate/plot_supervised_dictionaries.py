"""Draw three axes of every dictionary, its edits by their size, and what its features tell."""

from winnow.pipeline import stage


@stage
def plot_supervised_dictionaries(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import supervised_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(supervised_charts.axes(metrics), outputs.axes)
    save_chart(supervised_charts.edits(metrics), outputs.edits)
    save_chart(supervised_charts.levels(metrics), outputs.levels)
    save_chart(supervised_charts.told(read_parquet(inputs.features[0]).to_pylist()), outputs.told)
