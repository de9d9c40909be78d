"""Draw what predicted bits save for caches of items."""

from winnow.pipeline import stage


@stage
def plot_paging_of_items(inputs, outputs, params, log):
    """Write the picture as SVG."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.paging_charts import gap_closed
    from winnow.pipeline.tables import read_metrics

    save_chart(gap_closed(read_metrics(inputs.metrics)), outputs.gap)
