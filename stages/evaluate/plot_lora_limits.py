"""Draw errors of fast gradients of adapters, and the entries of heads that they depend on."""

from winnow.pipeline import stage


@stage
def plot_lora_limits(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import lora_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    gradients, norms = (
        [row for path in paths for row in read_parquet(path).to_pylist()] for paths in (inputs.gradients, inputs.norms)
    )
    save_chart(charts.errors(gradients), outputs.errors)
    save_chart(charts.growth(norms), outputs.growth)
