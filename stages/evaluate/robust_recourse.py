"""Compare recourses of rejected rows by what they cost and by which erasures of training rows they outlive."""

from winnow.pipeline import stage


@stage(torch=True)
def robust_recourse(inputs, outputs, params, log):
    """Write metrics of every arm, its recourses and audits, the error of influence, the points, and the verdict."""
    import pyarrow as pa

    from winnow.evaluate.recourse_data import recourse_data
    from winnow.evaluate.recourse_experiment import Comparison
    from winnow.evaluate.recourse_network_experiment import network_metrics
    from winnow.evaluate.recourse_summary import point_rows, verdict
    from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows, write_json, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    data = recourse_data(workload, params.favourable, params.seed, params.immutable, params.limit)
    log.info("%d training rows of %d features", *data.x.shape)
    comparison = Comparison(data, params, params.seed)
    results = comparison.run()
    found = list(results.metrics)
    if params.network:
        found += network_metrics(data, params, params.seed)
    rows = [
        metric_rows(
            {metric: value},
            system=system,
            workload=params.workload,
            variant=variant,
            seed=params.seed,
            split="test",
            units={metric: "share"} if metric.startswith(("validity", "found", "reached")) else None,
        )
        for system, variant, metric, value in found
    ]
    write_parquet(pa.concat_tables([METRICS_SCHEMA.empty_table(), *rows]), outputs.metrics)
    write_parquet(pa.Table.from_pylist(results.recourses), outputs.recourses)
    write_parquet(pa.Table.from_pylist(results.audits), outputs.audit)
    write_parquet(pa.Table.from_pylist(results.influence_error), outputs.influence_error)
    write_parquet(pa.Table.from_pylist(point_rows(comparison)), outputs.points)
    write_json(verdict(results, params.budgets), outputs.verdict)
