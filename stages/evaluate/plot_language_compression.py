"""Draw what compressed language models lose, beside what they weigh and cost."""

from winnow.pipeline import stage


@stage
def plot_language_compression(inputs, outputs, params, log):
    """Write one picture of loss against bytes, and one of all costs."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.language_charts import costs, trade
    from winnow.pipeline.tables import read_metrics

    metrics, timings = read_metrics(inputs.metrics), read_metrics(inputs.timings)
    save_chart(trade(metrics), outputs.trade)
    save_chart(costs(metrics, timings), outputs.costs)
