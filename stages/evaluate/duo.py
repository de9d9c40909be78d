"""Train a language model by drawn routes through large and small layers; try all routes, and train routers."""

from winnow.pipeline import stage


@stage(torch=True)
def duo(inputs, outputs, params, log):
    """Write what oracles, routes and routers lose and cost, what oracles use, and two models that route themselves."""
    import pyarrow as pa

    from winnow.compress.duo_models import routed
    from winnow.evaluate import duo_study as study
    from winnow.evaluate.evopress_study import windows
    from winnow.evaluate.feature_browser import words_of
    from winnow.models import load_model, save_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, seed, half = load_workload(inputs.train.parent), params.seed, params.layers // 2
    model = study.trained(workload, params, seed, Progress(log, "duo"))
    x, y = windows(workload, "test", params.judged, params.length)
    tables = study.tables_of(model, x, y, seed)
    rows, use, growth = study.told_by_oracles(model, tables, seed)
    rows["oracle", "all"] |= study.foreseen_by_block(model, windows(workload, "valid", *x.shape), (x, y))
    for k in (1, half):
        progress = Progress(log, f"routes of {k} big layers", "draws")
        drawn = study.best_drawn(model, x, y, k, params.draws, seed, progress)
        rows["drawn", f"k{k}"] = {"cross_entropy": drawn}
        for name, by_layer in (("router_by_layer", True), ("router", False)):
            target, progress = k / params.layers, Progress(log, f"{name}, {k} big layers")
            router = study.router_for(model, workload, params, target, seed, by_layer, progress)
            rows[name, f"k{k}"] = study.judged_router(model, router, x, y, params.sharpness[1])
    costs = study.by_cost(model, tables, "two layers")
    study.add_costs(rows, model, params.length)
    save_model(routed(model, router), outputs.scratch, params.workload)
    few = x[: params.skip_judged], y[: params.skip_judged]
    skipping = study.trained(workload, params, seed, Progress(log, "with skips"), params.skip)
    of_three = study.tables_of(skipping, *few, seed, skip=True)
    found, skips = study.told_of_skips(of_three)
    rows |= found
    costs += study.by_cost(skipping, of_three, "with skips")
    whole = load_model(inputs.model)
    with_twins, router, found = study.twins_told(
        whole, workload, params, (x, y), seed, lambda what: Progress(log, what)
    )
    rows |= found
    save_model(routed(with_twins, router), outputs.model, params.workload)
    for name, path in (("whole", inputs.model), ("routed", outputs.model)):
        rows[name, "trained model"] = study.judged_model(load_model(path), x, y)
    tokens = [[words_of(workload)[0][token] for token in window] for window in y[: params.shown].tolist()]
    units = {
        "gain": "nats",
        "soft_cross_entropy": "nats",
        "alone_cross_entropy": "nats",
        "share": "share",
        "hopeless": "share",
    }
    labels = {"workload": params.workload, "seed": seed, "split": "test", "units": units}
    metrics = [metric_rows(v, system=system, variant=variant, **labels) for (system, variant), v in rows.items()]
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    write_parquet(study.route_table(tables), outputs.routes)
    for name, table in {"use": use, "growth": growth, "skips": skips, "costs": costs}.items():
        write_parquet(pa.Table.from_pylist(table), getattr(outputs, name))
    write_parquet(pa.Table.from_pylist(study.token_rows(tables, tokens)), outputs.tokens)
