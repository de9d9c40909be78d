"""Draw accuracy and agreement of ranks of pruned toy networks."""

from winnow.pipeline import stage


@stage
def plot_relevance_toy(inputs, outputs, params, log):
    """Draw both over the number of reference samples, a column for each toy."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.relevance_charts import toy_curves
    from winnow.pipeline.tables import read_metrics

    save_chart(toy_curves(read_metrics(inputs.metrics)), outputs.toys)
