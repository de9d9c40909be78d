"""Draw loss, sparsity and meaning of dense layers and of experts."""

from winnow.pipeline import stage


@stage
def plot_moe_x(inputs, outputs, params, log):
    """Write the picture as SVG."""
    from winnow.evaluate import moe_x_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    save_chart(moe_x_charts.scores(read_metrics(inputs.metrics)), outputs.scores)
