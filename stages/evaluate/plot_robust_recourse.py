"""Draw what recourses cost, what they outlive, how far influence is off, and what one recourse changes."""

from winnow.pipeline import stage


@stage
def plot_robust_recourse(inputs, outputs, params, log):
    """Write the four pictures from the tables of all seeds."""
    import pyarrow as pa

    from winnow.evaluate import recourse_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    errors = pa.concat_tables([read_parquet(path) for path in inputs.influence_error])
    save_chart(recourse_charts.validity(metrics), outputs.validity)
    save_chart(recourse_charts.front(metrics), outputs.front)
    save_chart(recourse_charts.influence_error(errors), outputs.influence_error)
    save_chart(recourse_charts.changes(read_parquet(inputs.points[0])), outputs.changes)
