"""Draw what the loss keeps of layers replaced by transcoders and by autoencoders, and how often latents fire."""

from winnow.pipeline import stage


@stage
def plot_transcoder(inputs, outputs, params, log):
    """Write the pictures as SVG; densities have a panel for each layer, of all seeds together."""
    import pyarrow as pa

    from winnow.evaluate import transcoder_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.dictionary_charts import density_histogram
    from winnow.pipeline.tables import read_metrics, read_parquet

    save_chart(transcoder_charts.pareto(read_metrics(inputs.metrics)), outputs.pareto)
    tables = []
    for path in inputs.features:
        density, layer = read_parquet(path)["density"], path.parent.parent.name.replace("layer", "layer ")
        tables.append(pa.table({"density": density, "variant": [layer] * len(density)}))
    save_chart(density_histogram(pa.concat_tables(tables)), outputs.density)
