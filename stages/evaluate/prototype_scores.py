"""Judge the prototypes of several networks by part annotations, beside other heads and controls."""

from winnow.pipeline import stage


@stage(torch=True)
def prototype_scores(inputs, outputs, params, log):
    """Write scores, nulls and companions of each network, a row for each prototype, the curve over windows, strips."""
    import numpy as np
    import pyarrow as pa

    from winnow.evaluate.prototype_arms import GradCamMaps, arms_of, shared_fronts
    from winnow.evaluate.prototype_judging import judge, rank_correlation
    from winnow.evaluate.prototype_scores import perturb
    from winnow.evaluate.prototype_strips import strips
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.component_arms import accuracy
    from winnow.train.deep_components import DeepRecipe
    from winnow.workloads import load_workload
    from winnow.workloads.annotations import part_points

    workload = load_workload(inputs.train.parent)
    (images, known), (x, labels) = workload.arrays("train"), workload.arrays("test")
    points = part_points(workload.annotations("test"))
    size = workload.shape[1:]
    halves = sorted({max(1, round(h * max(size))) for h in params.halves})
    windows = {"half": round(params.half * max(size)), "halves": halves, "size": size, "threshold": params.threshold}
    networks = {path.parts[-3]: load_model(path) for path in inputs.models}
    plain = GradCamMaps(load_model(inputs.model), params.layer, len(workload.classes))
    noisy = perturb(x)  # one set of perturbations for every network and seed
    middle, *seen = shared_fronts(list(networks.values()), images, x, noisy)
    arms = arms_of(networks, middle, known, DeepRecipe(*params.epochs, shift=1), params.seed)
    arms = {name: (*arm, *seen) for name, arm in arms.items()} | {"grad-cam": ("grad_cam", plain, x, noisy)}
    progress, told = Progress(log, "prototype scores", "networks"), []
    metrics, tables, shown = [], ([], []), []
    for done, (name, (system, model, still, moved)) in enumerate(arms.items()):
        options = {"centre": system == "centre", "seed": params.seed, **windows}
        found, one = judge(model, still, moved, labels, points, **options), {"variant": name, "seed": params.seed}
        own = {} if system == "centre" else {"accuracy": accuracy(model, still, labels)}
        labelled = {"workload": params.workload, "split": "test", **one}
        metrics.append(metric_rows(found.metrics | own, system=system, **labelled))
        told += [(own["accuracy"], found.metrics["consistency"])] if own else []
        for table, of in zip((found.prototypes, found.curve), tables, strict=True):
            columns = {key: [value] * table.num_rows for key, value in one.items()}
            of.append(pa.table(columns | {key: table[key] for key in table.column_names}))
        if name in networks:
            frequency = found.prototypes["frequency"].to_numpy(zero_copy_only=False)
            at = (found.peaks, model.class_of().numpy(), labels.numpy(), points, workload.pixels("test"))
            shown += [one | row for row in strips(frequency, *at, windows["half"])]
        progress(done + 1, len(arms))
    related = rank_correlation(*zip(*told, strict=True), params.seed)
    related = {name: value if np.isfinite(value) else None for name, value in related.items()}
    labelled = {"system": "prototype_scores", "workload": params.workload, "variant": "all", "seed": params.seed}
    metrics.append(metric_rows(related, split="test", **labelled))
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    for of, path in zip(tables, (outputs.prototypes, outputs.curve), strict=True):
        write_parquet(pa.concat_tables(of), path)
    write_parquet(pa.Table.from_pylist(shown), outputs.strips)
