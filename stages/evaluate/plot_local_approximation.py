"""Draw how eight explanations agree, what each loses where, and how they do when inputs are perturbed."""

from winnow.pipeline import stage


@stage
def plot_local_approximation(inputs, outputs, params, log):
    """Draw distances, losses, limits and perturbation curves over the seeds."""
    import pyarrow as pa

    from winnow.evaluate import local_approximation_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    for name in ("distances", "losses", "limits", "perturbation"):
        table = pa.concat_tables([read_parquet(path) for path in getattr(inputs, name)])
        chart = getattr(charts, name)(table)
        save_chart(chart, getattr(outputs, "agreement" if name == "distances" else name))
