"""Draw explanations of images with a mark that tells the class."""

from winnow.pipeline import stage

SHOWN = 5


@stage
def plot_planted_mark(inputs, outputs, params, log):
    """Draw the first marked images of the first seed with the weights of the first kind of regions, and the mark."""
    import numpy as np
    from safetensors.numpy import load_file

    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.gallery_charts import region_weights
    from winnow.evaluate.planted_mark import mark_pixels
    from winnow.pipeline.tables import read_metrics, read_parquet

    maps, name = load_file(inputs.maps[0]), read_metrics(inputs.metrics[:1])["system"][0].as_py()
    rows = [row for row in read_parquet(inputs.explanations[0]).to_pylist() if row["segmenter"] == name]
    shown = list(dict.fromkeys(row["image"] for row in rows))[:SHOWN]
    of_image = [[row for row in rows if row["image"] == i] for i in shown]
    weights = [[row["weight"] for row in own] for own in of_image]
    titles, fits = [f"marked {i + 1}" for i in shown], [own[0]["r2"] for own in of_image]
    images = maps["images"][shown]
    truth = np.repeat(mark_pixels(*images.shape[1:3])[None], len(shown), axis=0)
    save_chart(region_weights(images, titles, maps[name][shown], weights, fits, truth), outputs.marked)
