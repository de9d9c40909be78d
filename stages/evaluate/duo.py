"""Train a language model by drawn routes through large and small layers; try all routes, and train routers."""

from winnow.pipeline import stage


@stage(torch=True)
def duo(inputs, outputs, params, log):
    """Write what oracles, routes and routers lose, the layers that oracles use, and oracles of few routes."""
    import pyarrow as pa

    from winnow.evaluate import duo_study as study
    from winnow.evaluate.evopress_study import windows
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, seed = load_workload(inputs.train.parent), params.seed
    model = study.trained(workload, params, seed, Progress(log, "duo"))
    x, y = windows(workload, "test", params.judged, params.length)
    rows, use, growth = study.told_by_oracles(model, x, y, seed)
    for k in (1, params.layers // 2):
        progress = Progress(log, f"routes of {k} big layers", "draws")
        drawn = study.best_drawn(model, x, y, k, params.draws, seed, progress)
        rows["drawn", f"k{k}"] = {"cross_entropy": drawn}
        for name, by_layer in (("router", False), ("router_by_layer", True)):
            target, progress = k / params.layers, Progress(log, f"{name}, {k} big layers")
            router = study.router_for(model, workload, params, target, seed, by_layer, progress)
            rows[name, f"k{k}"] = study.judged_router(model, router, x, y, params.sharpness[1])
    units = {"gain": "nats", "soft_cross_entropy": "nats", "share": "share", "hopeless": "share"}
    labels = {"workload": params.workload, "seed": seed, "split": "test", "units": units}
    tables = [metric_rows(v, system=system, variant=variant, **labels) for (system, variant), v in rows.items()]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(use), outputs.use)
    write_parquet(pa.Table.from_pylist(growth), outputs.growth)
