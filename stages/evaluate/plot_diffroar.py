"""Draw DiffROAR over the share of pixels kept, and of the attribution schemes."""

from winnow.pipeline import stage


@stage
def plot_diffroar(inputs, outputs, params, log):
    """Write both pictures as SVG."""
    from winnow.evaluate import gradient_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    metrics = read_metrics(inputs.metrics)
    save_chart(gradient_charts.diffroar_by_share(metrics), outputs.diffroar)
    save_chart(gradient_charts.diffroar_of_schemes(metrics), outputs.schemes)
