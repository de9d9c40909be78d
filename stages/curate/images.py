"""Curate a raw table of images: drop what cannot be used, remove duplicates, split by hash."""

from winnow.pipeline import stage


@stage
def curate_images(inputs, outputs, params, log):
    """Write the three splits, what was dropped and why, and the licences of the sources."""
    from winnow.curate.images import curate_images
    from winnow.pipeline.acquire import sources_table
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet

    curated = curate_images(
        read_parquet(inputs.raw),
        workload=params.workload,
        split_salt=params.split_salt,
        fractions=params.fractions,
        near_duplicate_distance=params.near_duplicate_distance,
        limit=params.limit,
    )
    for split, table in curated.tables.items():
        write_parquet(table, getattr(outputs, split), metadata=curated.metadata)
    report = curated.report
    log.info("kept %d of %d images; dropped %s", report["kept"], report["rows_in"], report["dropped"])
    counts = {"rows_in": report["rows_in"], "kept": report["kept"]}
    counts |= {f"dropped_{reason}": n for reason, n in report["dropped"].items()}
    labels = {"system": "curate_images", "workload": params.workload, "variant": "all", "seed": params.seed}
    write_parquet(metric_rows(counts, split="all", units=dict.fromkeys(counts, "images"), **labels), outputs.metrics)
    write_parquet(curated.classes, outputs.classes)
    write_parquet(curated.dropped, outputs.dropped)
    write_parquet(sources_table([params.source] if params.source else [], "data/sources.yaml"), outputs.sources)
    write_json(report, outputs.report)
