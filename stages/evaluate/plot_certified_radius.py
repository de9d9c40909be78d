"""Draw certified accuracy, components and evidence."""

from winnow.pipeline import stage


@stage
def plot_certified_radius(inputs, outputs, params, log):
    """Draw certified accuracy of all seeds, and the components and one explanation of the first."""
    from winnow.evaluate import component_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(component_charts.certified_curves(read_metrics(inputs.metrics)), outputs.certified)
    save_chart(component_charts.component_weights(read_parquet(inputs.components[0])), outputs.components)
    save_chart(component_charts.evidence(read_parquet(inputs.explanations[0])), outputs.evidence)
