"""Draw bi-level pruning beside its rivals: accuracy, cost, and how masks settle."""

from winnow.pipeline import stage


@stage
def plot_bilevel(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import bilevel_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics

    metrics = read_metrics(inputs.metrics)
    save_chart(bilevel_charts.accuracy_over_kept(metrics), outputs.accuracy)
    save_chart(bilevel_charts.accuracy_over_cost(metrics), outputs.cost)
    save_chart(bilevel_charts.mask_overlap(metrics), outputs.overlap)
