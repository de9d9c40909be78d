"""Draw what each pruning criterion does to calibration and explanations, and write it as a table."""

from winnow.pipeline import stage


@stage
def plot_compression_effects(inputs, outputs, params, log):
    """Write small multiples over sparsity as SVG, and means with intervals as CSV."""
    import pyarrow as pa
    import pyarrow.csv as csv

    from winnow.evaluate import compression_effects_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    rows = charts.measured(read_metrics(inputs.metrics), read_metrics(inputs.survival))
    save_chart(charts.small_multiples(rows), outputs.effects)
    csv.write_csv(pa.Table.from_pylist(charts.as_table(rows)), outputs.table)
