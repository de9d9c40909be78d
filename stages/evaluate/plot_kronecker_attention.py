"""Draw how networks learn to match triples, and where the fast form of attention over pairs errs."""

from winnow.pipeline import stage


@stage
def plot_kronecker_attention(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import kronecker_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    errors = [row for path in inputs.errors for row in read_parquet(path).to_pylist()]
    metrics, timings = read_metrics(inputs.metrics), read_metrics(inputs.timings)
    save_chart(charts.learning(metrics, read_metrics(inputs.history)), outputs.learning)
    save_chart(charts.errors(errors), outputs.errors)
    save_chart(charts.by_length(metrics, "work", "multiply-adds and entries"), outputs.work)
    save_chart(charts.by_length(timings, "seconds", "CPU seconds"), outputs.speed)
