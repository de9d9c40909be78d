"""Draw what routes lose at each budget, which layers oracles use, what they cost, and how much of it is hindsight."""

from winnow.pipeline import stage


@stage
def plot_duo(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import duo_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    use, growth, skips, costs = (
        [read_parquet(path).to_pylist() for path in getattr(inputs, name)]
        for name in ("use", "growth", "skips", "costs")
    )
    save_chart(charts.budgets(metrics, params.layers), outputs.budgets)
    save_chart(charts.use(use), outputs.use)
    save_chart(charts.use(skips, "skipped"), outputs.skips)
    save_chart(charts.hindsight(metrics, growth), outputs.hindsight)
    save_chart(charts.costs(metrics, costs), outputs.costs)
    save_chart(charts.tokens(read_parquet(inputs.tokens[0]).to_pylist()), outputs.tokens)
