"""Draw quality at equal cost, where attention lies, what folding does, and what fine-tuning makes of drawn blocks."""

from winnow.pipeline import stage


@stage
def plot_block_attention(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import block_attention_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    mass = [row for path in inputs.mass for row in read_parquet(path).to_pylist()]
    save_chart(charts.quality(metrics), outputs.quality)
    save_chart(charts.mass(mass, params.tuned_width), outputs.mass)
    save_chart(charts.folding(16, params.tuned_width), outputs.folding)
    save_chart(charts.after_tuning(metrics), outputs.copying)
