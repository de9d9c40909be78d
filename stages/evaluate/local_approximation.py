"""Explain a model of a table by eight methods, each in two forms, and judge them."""

from winnow.pipeline import stage


@stage(torch=True)
def local_approximation(inputs, outputs, params, log):
    """Write weights, distances, recovery, limits, losses and perturbation tests."""
    import pyarrow as pa
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    from winnow.attribution.perturbation import from_numpy
    from winnow.evaluate import local_approximation_study as study
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    classes = workload.task == "classification"
    encoder, f = study.standardised_part(load_model(inputs.model))
    (raw, y), points = workload.arrays("train"), workload.arrays("test")[0][: params.points]
    x, rows = encoder(points.double()), encoder(raw.double())
    explained = study.explain_all(f, x, params.samples, params.seed)
    log.info("explained %d rows of %d features by %d methods", *x.shape, len(explained.native))
    wanted = (y == y.max()).double() if classes else ((y - y.mean()) / y.std()).double()
    trees = (GradientBoostingClassifier if classes else GradientBoostingRegressor)(random_state=params.seed)
    trees.fit(rows.numpy(), y.numpy())
    blind = study.explain_all(
        from_numpy(trees.predict_proba if classes else trees.predict), x[:10], min(params.samples, 300), params.seed
    )
    d = x.shape[1]
    tables = {
        "distances": study.agreement(explained),
        "recovery": study.recovery(rows, wanted, x[:10], params.samples, params.seed, classes),
        "limits": study.limits(f, x, params.samples, params.seed),
        "losses": study.loss_matrix(f, x, explained.framework, params.samples, params.seed),
        "perturbation": study.perturbations(f, x, explained.native, params.noise, params.repeats, params.seed),
    }
    found = study.summary(tables, blind, d)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    metrics = [metric_rows(values, system=system, variant=variant, **labels) for system, variant, values in found]
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    for name, made in tables.items():
        table = [row | {"workload": params.workload, "seed": params.seed} for row in made]
        write_parquet(pa.Table.from_pylist(table), getattr(outputs, name))
    write_parquet(pa.Table.from_pylist(study.attributions(explained)), outputs.attributions)
