"""Draw the prototypes of a network beside the images they were found in."""

from winnow.pipeline import stage


@stage
def plot_protopnet(inputs, outputs, params, log):
    """Draw the prototypes of the first seed, one class a row."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.prototype_charts import prototype_gallery
    from winnow.pipeline.tables import read_parquet
    from winnow.workloads.image_tables import image_meta, pixel_array

    table = read_parquet(inputs.train)
    meta = image_meta(table, str(inputs.train))
    images = pixel_array(table, meta).reshape(-1, meta.height, meta.width, meta.channels)
    save_chart(prototype_gallery(read_parquet(inputs.prototypes[0]), images, meta.classes), outputs.prototypes)
