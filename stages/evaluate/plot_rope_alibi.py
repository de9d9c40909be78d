"""Draw what positions of several kinds are worth beyond the trained length, and the biases themselves."""

from winnow.pipeline import stage


@stage
def plot_rope_alibi(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import rope_alibi_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    inside = [row for path in inputs.inside for row in read_parquet(path).to_pylist()]
    save_chart(charts.lengths(read_metrics(inputs.metrics), params.context), outputs.lengths)
    save_chart(charts.strengths(read_metrics(inputs.metrics), params.context), outputs.strengths)
    save_chart(charts.profile(inside, params.context), outputs.profile)
    save_chart(charts.biases(params.modes, params.heads, params.context), outputs.biases)
