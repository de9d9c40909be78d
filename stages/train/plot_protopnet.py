"""Draw the prototypes of a network beside the images they were found in, its reasons for an image, and its losses."""

from winnow.pipeline import stage


@stage
def plot_protopnet(inputs, outputs, params, log):
    """Draw the prototypes of the first seed, one class a row, its evidence for an image, and all seeds' losses."""
    from winnow.evaluate import evidence_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.prototype_charts import prototype_gallery
    from winnow.pipeline.tables import read_metrics, read_parquet
    from winnow.workloads.image_tables import image_meta, pixel_array

    images = {}
    for split in ("train", "valid"):
        path = getattr(inputs, split)
        table = read_parquet(path)
        meta = image_meta(table, str(path))
        images[split] = pixel_array(table, meta).reshape(-1, meta.height, meta.width, meta.channels)
    prototypes, evidence = read_parquet(inputs.prototypes[0]), read_parquet(inputs.evidence[0])
    save_chart(prototype_gallery(prototypes, images["train"], meta.classes), outputs.prototypes)
    save_chart(evidence_charts.evidence(evidence, prototypes, images, meta.classes), outputs.evidence)
    save_chart(evidence_charts.losses(read_metrics(inputs.history)), outputs.losses)
