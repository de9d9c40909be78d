"""Draw the edges between directions, the loss by what is kept, and the eigenvalues of bases."""

from winnow.pipeline import stage


@stage
def plot_basis_ablation(inputs, outputs, params, log):
    """Write the pictures as SVG; the graph is that of the first seed."""
    from winnow.evaluate import ablation_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    def rows(paths):
        return [row for path in paths for row in read_parquet(path).to_pylist()]

    directions, formula = rows(inputs.directions), params.edges[0]
    save_chart(charts.graph(rows(inputs.graph[:1]), rows(inputs.directions[:1])), outputs.graph)
    save_chart(charts.curves(rows(inputs.curves), formula), outputs.curves)
    save_chart(charts.eigenvalues(directions), outputs.eigenvalues)
