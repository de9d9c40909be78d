"""Draw whether errors add up, how searches fared, what was chosen, and what it weighs."""

from winnow.pipeline import stage


@stage
def plot_evopress(inputs, outputs, params, log):
    """Write the pictures as SVG; which layers stay is shown for the first seed."""
    import json

    from winnow.evaluate import evopress_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    audit, violations = read_parquet(inputs.audit).to_pylist(), read_parquet(inputs.violations).to_pylist()
    histories = [read_parquet(path).to_pylist() for path in inputs.history]
    save_chart(evopress_charts.additivity(audit, violations), outputs.additivity)
    save_chart(evopress_charts.searches(histories), outputs.search)
    save_chart(evopress_charts.arms(read_metrics(inputs.metrics)), outputs.arms)
    save_chart(evopress_charts.kept(json.loads(inputs.levels[0].read_text())), outputs.kept)
    save_chart(evopress_charts.realised(read_metrics([inputs.models])), outputs.realised)
