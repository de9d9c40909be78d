"""Draw recall and precision over the rounds."""

from winnow.pipeline import stage


@stage
def plot_code_recall(inputs, outputs, params, log):
    """Write the picture as SVG."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.code_recall_study import recall_chart
    from winnow.pipeline.tables import read_metrics

    save_chart(recall_chart(read_metrics(inputs.metrics)), outputs.recall)
