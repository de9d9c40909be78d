"""Draw errors of fast gradients of adapters, and the entries of heads that they depend on."""

from winnow.pipeline import stage


@stage
def plot_lora_limits(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import lora_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    gradients, norms, phases = (
        [row for path in paths for row in read_parquet(path).to_pylist()]
        for paths in (inputs.gradients, inputs.norms, inputs.phases)
    )
    save_chart(charts.errors(gradients), outputs.errors)
    save_chart(charts.growth(norms), outputs.growth)
    save_chart(charts.heads(norms), outputs.heads)
    save_chart(charts.phases(phases), outputs.phases)
    save_chart(charts.by_length(read_metrics(inputs.metrics), "work", "multiply-adds and entries"), outputs.work)
    save_chart(charts.by_length(read_metrics(inputs.timings), "seconds", "CPU seconds"), outputs.speed)
