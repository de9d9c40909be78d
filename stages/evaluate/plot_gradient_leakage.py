"""Draw how far gradients stay in the signal block, some of their maps, and the toy's block norms."""

from winnow.pipeline import stage


@stage
def plot_gradient_leakage(inputs, outputs, params, log):
    """Write the pictures as SVG; maps and toy are those of the first seed."""
    from safetensors.numpy import load_file

    from winnow.evaluate import gradient_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(gradient_charts.leakage_bars(read_metrics(inputs.metrics)), outputs.leakage)
    save_chart(gradient_charts.map_strip(load_file(inputs.maps[0])), outputs.maps)
    save_chart(gradient_charts.toy_norms(read_parquet(inputs.toy[0])), outputs.toy)
