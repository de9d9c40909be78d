"""Train a model on images of which one class bears a mark, and see whether explanations show the mark."""

from winnow.pipeline import stage


@stage(torch=True)
def planted_mark(inputs, outputs, params, log):
    """Write how often the mark is found, with and without it, and what was explained."""
    import numpy as np
    import pyarrow as pa
    from safetensors.numpy import save_file

    from winnow.errors import InputError
    from winnow.evaluate import lime_study as study
    from winnow.evaluate.planted_mark import mark_found, marked
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.transfer import fit_scratch
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    names = [str(name) for name in workload.classes]
    if params.marked not in names:
        raise InputError(f"planted_mark.marked: {params.marked!r} is no class; name one of {', '.join(names)}")
    target, (x, y) = names.index(params.marked), workload.arrays("train")
    own = (y == target).numpy()
    x = x.clone()
    x[own] = workload.standardise(marked(workload.pixels("train")[own]))
    model = workload.build("small_cnn", seed=params.seed)
    budget = {name: getattr(params, name) for name in ("epochs", "learning_rate", "batch_size", "seed")}
    fit_scratch(model, x, y, "none", **budget)
    predict, pixels = study.predictor(model.eval()), workload.pixels("test")[: params.images]
    kinds = {"": marked(pixels), "unmarked_": pixels}
    arrays = {kind: workload.standardise(p).movedim(1, -1).squeeze(-1).numpy() for kind, p in kinds.items()}
    labels = {"workload": params.workload, "variant": f"top{params.top}", "seed": params.seed, "split": "test"}
    tables, weights, saved = [], [], {"images": kinds[""]}
    for name in params.segmenters:
        shape = (name, params.segments, params.samples, params.seed, target)
        found = {kind: study.explain_images(predict, images, *shape) for kind, images in arrays.items()}
        values = {f"{kind}mark_found": float(np.mean(mark_found(of, params.top))) for kind, of in found.items()}
        values |= {f"{kind}taken": float((predict(a).argmax(1) == target).mean()) for kind, a in arrays.items()}
        log.info("%s: the mark is found on %.2f of the marked images", name, values["mark_found"])
        tables.append(metric_rows(values, system=name, units=dict.fromkeys(values, "share"), **labels))
        empty = np.zeros(arrays[""].shape[1:3], np.int32)
        saved[name] = np.stack([one[0] if one else empty for one in found[""]])
        for i, one in enumerate(found[""]):
            fit = {"image": i, "segmenter": name, "r2": one[1].r2} if one else {}
            weights += [fit | {"region": r, "weight": w} for r, w in enumerate(one[1].weight.tolist() if one else ())]
    save_file(saved, outputs.maps)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(weights), outputs.explanations)
