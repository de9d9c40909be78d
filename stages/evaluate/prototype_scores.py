"""Judge the prototypes of several networks by part annotations, beside two controls."""

from winnow.pipeline import stage


@stage(torch=True)
def prototype_scores(inputs, outputs, params, log):
    """Write scores, nulls and companions of each network, a row for each prototype, and the curve over windows."""
    import pyarrow as pa

    from winnow.evaluate.prototype_judging import judge, with_random_prototypes
    from winnow.evaluate.prototype_scores import perturb
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.annotations import part_points

    workload = load_workload(inputs.train.parent)
    x, labels = workload.arrays("test")
    points = part_points(workload.annotations("test"))
    noisy = perturb(x)  # one set of perturbations for every network and seed
    side = max(workload.shape[1:])
    windows = {"half": round(params.half * side), "halves": sorted({max(1, round(h * side)) for h in params.halves})}
    networks = {path.parts[-3]: load_model(path) for path in inputs.models}
    first = next(iter(networks))
    arms = {name: ("protopnet", model, False) for name, model in networks.items()}
    arms["random prototypes"] = ("random_prototypes", with_random_prototypes(networks[first], params.seed), False)
    arms["image centre"] = ("centre", networks[first], True)
    progress, metrics, prototypes, curves = Progress(log, "prototype scores", "networks"), [], [], []
    for done, (name, (system, model, centre)) in enumerate(arms.items()):
        options = {"threshold": params.threshold, "centre": centre, "seed": params.seed, **windows}
        found = judge(model, x, noisy, labels, points, **options)
        own = dict(workload.metrics(model, "test")) if name in networks else {}
        labelled = {"system": system, "workload": params.workload, "variant": name, "seed": params.seed}
        metrics.append(metric_rows(found.metrics | own, split="test", **labelled))
        for table, tables in ((found.prototypes, prototypes), (found.curve, curves)):
            columns = {"variant": [name] * table.num_rows, "seed": [params.seed] * table.num_rows}
            tables.append(pa.table(columns | {c: table[c] for c in table.column_names}))
        progress(done + 1, len(arms))
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    write_parquet(pa.concat_tables(prototypes), outputs.prototypes)
    write_parquet(pa.concat_tables(curves), outputs.curve)
