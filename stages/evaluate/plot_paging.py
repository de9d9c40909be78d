"""Draw what predicted bits save on traces, what wrong ones cost, and who faults when."""

from winnow.pipeline import stage


@stage
def plot_paging(inputs, outputs, params, log):
    """Write the pictures as SVG; wrong bits and the stretch of requests are those of the first seed."""
    from winnow.evaluate import paging_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(paging_charts.gap_closed(read_metrics(inputs.metrics)), outputs.gap)
    save_chart(paging_charts.cost_of_errors(read_parquet(inputs.noise[0])), outputs.noise)
    save_chart(paging_charts.fault_raster(read_parquet(inputs.timeline[0])), outputs.timeline)
