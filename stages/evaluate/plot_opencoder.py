"""Draw what each arm of the recipe teaches, what stays after each step, and why files go."""

from winnow.pipeline import stage


@stage
def plot_opencoder(inputs, outputs, params, log):
    """Write the pictures as SVG; the funnel and the reasons are those of the first seed."""
    from winnow.evaluate import opencoder_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(opencoder_charts.ablation(read_metrics(inputs.metrics)), outputs.ablation)
    save_chart(opencoder_charts.funnel(read_parquet(inputs.funnel[0])), outputs.funnel)
    save_chart(opencoder_charts.reasons(read_parquet(inputs.dropped[0])), outputs.signals)
