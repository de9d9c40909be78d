"""Draw how TELL clusters, beside other clusterers."""

from winnow.pipeline import stage


@stage
def plot_tell(inputs, outputs, params, log):
    """Draw scores of all seeds, and the centres, losses and clusters of the first."""
    from winnow.evaluate import clustering_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(clustering_charts.clusterer_scores(metrics), outputs.clusterers)
    save_chart(clustering_charts.centre_pictures(read_parquet(inputs.centres[0])), outputs.centres)
    save_chart(
        clustering_charts.losses_and_objective(read_metrics(inputs.history[:1]), read_metrics(inputs.metrics[:1])),
        outputs.training,
    )
    save_chart(clustering_charts.clusters_by_class(read_parquet(inputs.labels[0])), outputs.confusion)
