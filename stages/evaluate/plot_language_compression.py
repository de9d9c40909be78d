"""Draw what compressed language models lose, beside what they weigh and cost."""

from winnow.pipeline import stage


@stage
def plot_language_compression(inputs, outputs, params, log):
    """Write pictures of loss against bytes and parameters, one of all costs, and their table."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.language_charts import by_parameters, costs, trade
    from winnow.evaluate.language_table import compression_page
    from winnow.pipeline.tables import read_metrics

    metrics, timings = read_metrics(inputs.metrics), read_metrics(inputs.timings)
    save_chart(trade(metrics), outputs.trade)
    save_chart(by_parameters(metrics), outputs.parameters)
    save_chart(costs(metrics, timings), outputs.costs)
    title = f"Compressed language models of {params.workload}"
    outputs.table.write_text(compression_page(metrics, timings, title), encoding="utf-8")
