"""Curate a raw table: freeze the types of its columns, drop rows that cannot be used, split by hash."""

from winnow.pipeline import stage


@stage
def curate_table(inputs, outputs, params, log):
    """Write the three splits, the columns and classes, what was dropped and why, and the licences of the sources."""
    from winnow.curate.tables import curate_table
    from winnow.pipeline.acquire import sources_table
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet

    curated = curate_table(
        read_parquet(inputs.raw),
        workload=params.workload,
        split_salt=params.split_salt,
        fractions=params.fractions,
        duplicates=params.duplicates,
        folds=params.folds,
        folds_below=params.folds_below,
        limit=params.limit,
    )
    for split, table in curated.tables.items():
        write_parquet(table, getattr(outputs, split), metadata=curated.metadata)
    report = curated.report
    log.info("kept %d of %d rows; dropped %s", report["kept"], report["rows_in"], report["dropped"])
    log.info("columns: %s", report["columns"])
    counts = {"rows_in": report["rows_in"], "kept": report["kept"]}
    counts |= {f"dropped_{reason}": n for reason, n in report["dropped"].items()}
    labels = {"system": "curate_table", "workload": params.workload, "variant": "all", "seed": params.seed}
    write_parquet(metric_rows(counts, split="all", units=dict.fromkeys(counts, "rows"), **labels), outputs.metrics)
    for name in ("columns", "classes", "dropped"):
        write_parquet(getattr(curated, name), getattr(outputs, name))
    write_parquet(sources_table([params.source] if params.source else [], "data/sources.yaml"), outputs.sources)
    write_json(report, outputs.report)
