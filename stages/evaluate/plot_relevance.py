"""Draw pruning by relevance: curves, kept units, and maps of test images."""

from winnow.pipeline import stage


@stage
def plot_relevance(inputs, outputs, params, log):
    """Write the pictures as SVG; maps are those of the first seed."""
    import pyarrow as pa
    from safetensors.numpy import load_file

    from winnow.evaluate import relevance_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(relevance_charts.accuracy_curves(read_metrics(inputs.metrics)), outputs.curves)
    save_chart(relevance_charts.kept_units(pa.concat_tables(map(read_parquet, inputs.kept))), outputs.kept)
    save_chart(relevance_charts.map_strip(load_file(inputs.maps[0])), outputs.maps)
