"""Draw how LIME meets the truth for each kind of regions, and what a pick of images covers."""

from winnow.pipeline import stage


@stage
def plot_lime_images(inputs, outputs, params, log):
    """Draw shares by kind of regions, coverage over the number of images, and an image of each class with its truth."""
    from safetensors.numpy import load_file

    from winnow.evaluate import lime_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(lime_charts.localisation(metrics), outputs.localisation)
    save_chart(lime_charts.coverage(metrics), outputs.coverage)
    tables = [read_parquet(paths[0]) for paths in (inputs.localisation, inputs.explanations)]
    save_chart(lime_charts.overlays(load_file(inputs.overlays[0]), *tables), outputs.overlays)
