"""Draw what routes lose at each budget, which layers oracles use, and how much of it is hindsight."""

from winnow.pipeline import stage


@stage
def plot_duo(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import duo_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    use, growth = ([read_parquet(path).to_pylist() for path in paths] for paths in (inputs.use, inputs.growth))
    save_chart(duo_charts.budgets(metrics, params.layers), outputs.budgets)
    save_chart(duo_charts.use(use), outputs.use)
    save_chart(duo_charts.hindsight(metrics, growth), outputs.hindsight)
