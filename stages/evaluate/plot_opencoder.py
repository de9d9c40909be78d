"""Draw what each arm of the recipe teaches, what stays after each step, and why files go."""

from winnow.pipeline import stage


@stage
def plot_opencoder(inputs, outputs, params, log):
    """Write the pictures as SVG, and a page of dropped files; all but the first picture are of the first seed."""
    from winnow.evaluate import opencoder_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.dropped_page import dropped_page
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(opencoder_charts.ablation(read_metrics(inputs.metrics)), outputs.ablation)
    save_chart(opencoder_charts.funnel(read_parquet(inputs.funnel[0])), outputs.funnel)
    save_chart(opencoder_charts.reasons(read_parquet(inputs.dropped[0])), outputs.signals)
    save_chart(opencoder_charts.signal_map(read_parquet(inputs.signals[0])), outputs.map)
    page = dropped_page(read_parquet(inputs.shown[0]), "Files that the recipe for code drops")
    outputs.page.write_text(page, encoding="utf-8")
