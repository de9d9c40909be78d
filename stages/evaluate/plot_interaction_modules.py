"""Draw the graph of interactions, the spectra of Hessians and the purity of directions."""

from winnow.pipeline import stage


@stage
def plot_interaction_modules(inputs, outputs, params, log):
    """Write the pictures as SVG; the graph is that of the first seed."""
    from winnow.evaluate import interaction_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    def rows(paths):
        return [row for path in paths for row in read_parquet(path).to_pylist()]

    save_chart(charts.graph(rows(inputs.nodes[:1]), rows(inputs.edges[:1])), outputs.graph)
    save_chart(charts.spectrum(rows(inputs.spectra)), outputs.spectrum)
    save_chart(charts.purities(rows(inputs.nodes)), outputs.purity)
