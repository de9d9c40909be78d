"""Draw a circuit of transcoder latents, the years that they read, and how many of them are enough."""

from winnow.pipeline import stage


@stage
def plot_transcoder_circuits(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import transcoder_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    def rows(paths):
        return [row for path in paths for row in read_parquet(path).to_pylist()]

    save_chart(charts.circuit(rows(inputs.edges)), outputs.circuit)
    save_chart(charts.years(rows(inputs.years)), outputs.years)
    save_chart(charts.curves(rows(inputs.curves)), outputs.curves)
