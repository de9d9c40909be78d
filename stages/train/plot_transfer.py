"""Draw how classifiers of unbalanced images fare, by how their training images are drawn and balanced."""

from winnow.pipeline import stage


@stage
def plot_transfer(inputs, outputs, params, log):
    """Draw mean F1 of every arm, and the confusion of the kept network."""
    from winnow.evaluate import transfer_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet
    from winnow.workloads.image_tables import image_meta

    names = image_meta(read_parquet(inputs.train, ["label"]), str(inputs.train)).classes
    save_chart(transfer_charts.arms(read_metrics(inputs.metrics)), outputs.arms)
    save_chart(transfer_charts.confusion(read_parquet(inputs.classification[0]), names), outputs.confusion)
