"""Draw what caches of few bits lose and weigh, and how their bits fall."""

from winnow.pipeline import stage


@stage
def plot_kv_quantise(inputs, outputs, params, log):
    """Write the pictures as SVG; bits by age are those of the first cut, bytes the same for every seed."""
    from winnow.evaluate import kv_quantise_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(kv_quantise_charts.quality(metrics), outputs.quality)
    save_chart(kv_quantise_charts.orders(metrics), outputs.orders)
    save_chart(kv_quantise_charts.ages(params.cuts[0], params.staircases), outputs.ages)
    save_chart(kv_quantise_charts.sizes(read_parquet(inputs.sizes[0]).to_pylist()), outputs.sizes)
