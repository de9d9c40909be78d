"""Draw who describes which functions, what queries buy, and where the worst descriptions are wrong."""

from winnow.pipeline import stage


@stage
def plot_find_benchmark(inputs, outputs, params, log):
    """Write the pictures as SVG; the worst descriptions are those of the first seed."""
    from winnow.evaluate import find_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(find_charts.success_bars(metrics, params.main_budget), outputs.success)
    save_chart(find_charts.text_bars(metrics, params.main_budget), outputs.texts)
    save_chart(find_charts.relation_bars(metrics, params.main_budget), outputs.relations)
    save_chart(find_charts.budget_lines(metrics), outputs.budgets)
    save_chart(find_charts.worst_curves(read_parquet(inputs.curves[0])), outputs.worst)
