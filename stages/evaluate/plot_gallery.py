"""Draw explanations of the same images side by side."""

from winnow.pipeline import stage


@stage
def plot_gallery(inputs, outputs, params, log):
    """Draw the maps of all methods, and superpixels with their weights, of the first seed."""
    from safetensors.numpy import load_file

    from winnow.evaluate import gallery_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet
    from winnow.workloads.image_tables import image_meta, pixel_array

    test, shown, weights = read_parquet(inputs.test), read_parquet(inputs.images[0]), read_parquet(inputs.regions[0])
    meta = image_meta(test, str(inputs.test))
    pixels = pixel_array(test, meta).reshape(-1, meta.height, meta.width, meta.channels)
    images, maps = pixels[shown["row"].to_numpy()], load_file(inputs.maps[0])
    regions = maps.pop("regions")
    titles = [
        str(meta.classes[truth]) if truth == said else f"{meta.classes[said]}, is {meta.classes[truth]}"
        for truth, said in zip(shown["label"].to_pylist(), shown["predicted"].to_pylist(), strict=True)
    ]
    owner = weights["image"].to_numpy()
    of_image = [weights["weight"].to_numpy()[owner == i] for i in range(len(images))]
    fits = [float(weights["r2"].to_numpy()[owner == i][0]) for i in range(len(images))]
    # The order of the methods: a safetensors file has none.
    ordered = {name: maps[name] for name in read_metrics(inputs.metrics[:1])["system"].unique().to_pylist()}
    save_chart(charts.explanation_grid(images, titles, ordered), outputs.explanations)
    save_chart(charts.region_weights(images, titles, regions, of_image, fits), outputs.regions)
