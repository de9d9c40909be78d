"""Explain a model of images by LIME on several kinds of regions, and see whether it points at what is there."""

from winnow.pipeline import stage

MEASURED = ("precision", "recall", "pointing", "share", "shadow_share", "random_precision", "drop", "random_drop")
SHARES = (*MEASURED, "drop_gain", "r2", "stability")


@stage(torch=True)
def lime_images(inputs, outputs, params, log):
    """Write explanations, how they meet the truth, which of them a pick would show, and maps of one a class."""
    import numpy as np
    import pyarrow as pa
    from safetensors.numpy import save_file

    from winnow.errors import InputError
    from winnow.evaluate import lime_study as study
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_json, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.annotations import masks

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    predict, table = study.predictor(model), workload.annotations("test")
    x, y = workload.arrays("test")
    pictures = x[:, 0].numpy() if x.shape[1] == 1 else x.movedim(1, -1).numpy()
    truth = masks(table, "concepts", params.concepts, pictures.shape[1:3])
    right = predict(pictures).argmax(1) == y.numpy()
    judged = np.flatnonzero(right & truth.any((1, 2, 3)))
    chosen = judged[study.spread_over_classes(y.numpy()[judged], params.images)]
    images, truth, ids = pictures[chosen], truth[chosen], table["image_id"].to_numpy()[chosen]
    log.info("%d of %d test images are right and show something; %d are explained", right.sum(), len(y), len(chosen))
    if not len(chosen):
        raise InputError(f"{inputs.model}: is right on no test image that shows something; train it longer")
    shown = [str(workload.classes[label]) for label in y[chosen].tolist()]
    labels = {"workload": params.workload, "variant": f"top{params.top}", "seed": params.seed, "split": "test"}
    pixels, metrics, rows, weights, picked, maps = workload.pixels("test")[chosen], [], [], [], {}, {}
    for name in params.segmenters:
        found = study.explain_images(predict, images, name, params.segments, params.samples, params.seed)
        measured = study.measure(predict, images, truth, found, params.top, params.samples, params.stable, params.seed)
        log.info("%s: %d images cut into %d regions", name, len(measured), params.segments)
        measured = [row | {"class": shown[row["image"]]} for row in measured]
        values = study.summary(measured, params.shadowed, params.ratio)
        metrics.append(metric_rows(values, system=name, units=dict.fromkeys(SHARES, "share"), **labels))
        rows += [row | {"segmenter": name, "image": int(ids[row["image"]]), "seed": params.seed} for row in measured]
        for i, one in enumerate(found):
            parts = enumerate(one[1].weight.tolist()) if one else ()
            weights += [{"image": int(ids[i]), "segmenter": name, "region": r, "weight": w} for r, w in parts]
        maps = maps or study.overlay_maps(name, found, shown, pixels, truth, ids)
        picked[name] = study.picks(images, found, params.budget, params.words, params.seed)
        for system, key in (("submodular_pick", "coverage"), ("random_pick", "random")):
            steps = [("coverage", value, k + 1) for k, value in enumerate(picked[name][key])]
            last = [("coverage", picked[name][key][-1], None)]
            metrics.append(metric_rows(steps + last, system=system, **labels | {"variant": name}))
        extra = {"coverage_p95": picked[name]["high"], "of_best": picked[name]["of_best"]}
        metrics.append(metric_rows(extra, system="random_pick", **labels | {"variant": name}))
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.localisation)
    write_parquet(pa.Table.from_pylist(weights), outputs.explanations)
    write_json(picked, outputs.picks)
    save_file(maps, outputs.overlays)
