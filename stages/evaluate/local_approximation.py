"""Explain models by eight methods, each in two forms, and judge them."""

from winnow.pipeline import stage


@stage(torch=True)
def local_approximation(inputs, outputs, params, log):
    """Write weights, distances, recovery, limits, losses and perturbation tests."""
    import pyarrow as pa
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    from winnow.attribution.perturbation import from_numpy
    from winnow.evaluate import local_approximation_study as study
    from winnow.evaluate import local_approximation_summary as judged
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    classes = workload.task == "classification"
    (raw, y), points = workload.arrays("train"), workload.arrays("test")[0][: params.points]
    noise = (params.noise, params.repeats, params.seed)
    tables = {name: [] for name in ("distances", "recovery", "limits", "losses", "perturbation", "attributions")}
    found = []
    for path in inputs.models:
        encode, f = study.rows_and_function(workload, load_model(path))
        x, name = encode(points.double()), path.parts[-3]
        explained = study.explain_all(f, x, params.samples, params.seed)
        made = {
            "distances": study.agreement(explained),
            "limits": study.limits(f, x, params.samples, params.seed),
            "losses": study.loss_matrix(f, x, explained.framework, params.samples, params.seed),
            "perturbation": study.perturbations(f, x, explained.native, *noise),
            "attributions": judged.attributions(explained),
        }
        half = max(1, x.shape[1] // 2)
        changed = {kind: study.changes(f, x, explained.native, half, kind, "bottom", *noise) for kind in study.KINDS}
        found += judged.summary(made, changed, name, half)
        for table, rows in made.items():
            tables[table] += [row | {"model": name} for row in rows]
        log.info("%s: explained %d rows of %d features", name, *x.shape)
    rows = encode(raw.double())
    wanted = (y == y.max()).double() if classes else ((y - y.mean()) / y.std()).double()
    tables["recovery"] = study.recovery(rows, wanted, x[:10], params.samples, params.seed, classes)
    trees = (GradientBoostingClassifier if classes else GradientBoostingRegressor)(random_state=params.seed)
    trees.fit(rows.numpy(), y.numpy())
    told = from_numpy(trees.predict_proba if classes else trees.predict)
    blind = study.explain_all(told, x[:10], min(params.samples, 300), params.seed)
    found += judged.summary_of_known(tables["recovery"], blind)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    metrics = [metric_rows(values, system=system, variant=variant, **labels) for system, variant, values in found]
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    for name, made in tables.items():
        table = [row | {"workload": params.workload, "seed": params.seed} for row in made]
        write_parquet(pa.Table.from_pylist(table), getattr(outputs, name))
