"""Draw how often the features of a dictionary fire."""

from winnow.pipeline import stage


@stage
def plot_dictionary(inputs, outputs, params, log):
    """Write the picture as SVG, a panel for each seed."""
    import pyarrow as pa

    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.dictionary_charts import density_histogram
    from winnow.pipeline.tables import read_parquet

    tables = []
    for path in inputs.features:
        density = read_parquet(path)["density"]
        tables.append(pa.table({"density": density, "variant": [path.parent.name] * len(density)}))
    save_chart(density_histogram(pa.concat_tables(tables)), outputs.density)
