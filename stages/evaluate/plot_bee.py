"""Draw what BEE's bandits score and choose."""

from winnow.pipeline import stage


@stage
def plot_bee(inputs, outputs, params, log):
    """Write the three pictures as SVG."""
    import pyarrow as pa

    from winnow.evaluate import bee_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(bee_charts.scores_by_draws(metrics), outputs.draws)
    save_chart(bee_charts.arm_shares(pa.concat_tables([read_parquet(path) for path in inputs.arms])), outputs.arms)
    save_chart(bee_charts.crossed_metrics(metrics), outputs.crossed)
