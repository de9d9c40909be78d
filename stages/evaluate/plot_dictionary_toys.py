"""Draw the two toys of what may go wrong with dictionaries: occlusion and over-splitting."""

from winnow.pipeline import stage


@stage
def plot_dictionary_toys(inputs, outputs, params, log):
    """Write the picture as SVG."""
    from winnow.evaluate import supervised_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    save_chart(supervised_charts.toys(read_metrics(inputs.metrics)), outputs.toys)
