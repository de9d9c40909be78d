"""Draw recommenders side by side, how they learned, for whom each ranks well, and which items lie near each other."""

from winnow.pipeline import stage


@stage
def plot_recommenders(inputs, outputs, params, log):
    """Write the pictures as SVG; embeddings are those of the first seed."""
    from winnow.evaluate import recommender_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(recommender_charts.arms(metrics, params.models[0]), outputs.arms)
    save_chart(recommender_charts.curves(read_metrics(inputs.histories)), outputs.curves)
    save_chart(recommender_charts.strata(metrics), outputs.strata)
    save_chart(recommender_charts.nearest(read_parquet(inputs.nearest[0])), outputs.nearest)
