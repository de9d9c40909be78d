"""Draw what the loss keeps of layers replaced by transcoders and by autoencoders."""

from winnow.pipeline import stage


@stage
def plot_transcoder(inputs, outputs, params, log):
    """Write the picture as SVG."""
    from winnow.evaluate import transcoder_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    save_chart(transcoder_charts.pareto(read_metrics(inputs.metrics)), outputs.pareto)
