"""Curate events of users and items: drop what cannot be used or is too rare, order the rest, split it."""

from winnow.pipeline import stage


@stage
def curate_interactions(inputs, outputs, params, log):
    """Write the three splits, the users and items, what was dropped and why, and the licences of the sources."""
    from winnow.curate.interactions import curate_interactions
    from winnow.pipeline.acquire import sources_table
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet

    curated = curate_interactions(
        read_parquet(inputs.raw),
        read_parquet(inputs.catalogue),
        workload=params.workload,
        split=params.split,
        core=params.core,
        repeats=params.repeats,
        window=params.window,
        split_salt=params.split_salt,
        fractions=params.fractions,
        limit=params.limit,
    )
    for split, table in curated.tables.items():
        write_parquet(table, getattr(outputs, split), metadata=curated.metadata)
    report = curated.report
    log.info("kept %d of %d events; dropped %s", report["kept"], report["rows_in"], report["dropped"])
    counts = {"rows_in": report["rows_in"], "kept": report["kept"], "users": report["users"]}
    counts |= {f"dropped_{reason}": n for reason, n in report["dropped"].items()}
    labels = {"system": "curate_interactions", "workload": params.workload, "variant": "all", "seed": params.seed}
    units = {**dict.fromkeys(counts, "events"), "users": "users"}
    write_parquet(metric_rows(counts, split="all", units=units, **labels), outputs.metrics)
    tables = {outputs.users: curated.users, outputs.catalogue: curated.items, outputs.dropped: curated.dropped}
    for path, table in tables.items():
        write_parquet(table, path)
    write_parquet(sources_table([params.source] if params.source else [], "data/sources.yaml"), outputs.sources)
    write_json(report, outputs.report)
