"""Draw how LIME meets the truth for each kind of regions, and what a pick of images covers."""

from winnow.pipeline import stage


@stage
def plot_lime_images(inputs, outputs, params, log):
    """Draw shares by kind of regions, and coverage over the number of images."""
    from winnow.evaluate import lime_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    metrics = read_metrics(inputs.metrics)
    save_chart(lime_charts.localisation(metrics), outputs.localisation)
    save_chart(lime_charts.coverage(metrics), outputs.coverage)
