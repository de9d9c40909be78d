"""Draw circuits, where their nodes lie, and how faithful they are."""

from winnow.pipeline import stage


@stage
def plot_contextual_decomposition(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import circuit_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    def rows(paths):
        return [row for path in paths for row in read_parquet(path).to_pylist()]

    nodes, circuit = rows(inputs.nodes), rows(inputs.circuit)
    save_chart(charts.faithfulness(rows(inputs.faithfulness)), outputs.faithfulness)
    save_chart(charts.node_map(nodes, circuit), outputs.map)
    save_chart(charts.effects(nodes), outputs.effects)
    save_chart(charts.circuit(circuit), outputs.circuit)
