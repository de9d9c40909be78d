"""Draw how often searches succeed for how much work, what they move, and who notices."""

from winnow.pipeline import stage


@stage
def plot_subspace_rerouting(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import rerouting_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    def rows(paths):
        return [row | {"seed": i} for i, path in enumerate(paths) for row in read_parquet(path).to_pylist()]

    save_chart(charts.work(rows(inputs.attacks)), outputs.work)
    save_chart(charts.cosines(rows(inputs.moved)), outputs.cosines)
    save_chart(charts.plane(rows(inputs.plane[:1])), outputs.plane)
    save_chart(charts.detectors(rows(inputs.scores)), outputs.detectors)
