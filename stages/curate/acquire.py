"""Fetch and verify a workload's pinned archives, or read a folder or file of one's own, into one raw table."""

from winnow.pipeline import stage


@stage
def acquire(inputs, outputs, params, log):
    """Write the raw table: one row for each record of the source, nothing dropped."""
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads.image_tables import metadata_of

    if getattr(params, "source", None):
        from winnow.pipeline.readers import read_source

        table = read_source(params.source, "data/sources.yaml")
    elif getattr(params, "sources", None):
        from winnow.pipeline.progress import Progress
        from winnow.pipeline.readers import read_text_sources

        table = read_text_sources(params.sources, "data/sources.yaml", Progress(log, "acquire", "archives"))
    elif params.kind == "text":
        from winnow.workloads.text_tables import read_text_folder

        table = read_text_folder(params.path)
    elif params.kind == "table":
        from winnow.workloads.table_files import read_table_file

        table = read_table_file(params.path, **{**vars(params.table), "columns": vars(params.table.columns)})
    else:
        from winnow.workloads.folders import read_image_folder

        table, unreadable = read_image_folder(params.path, size=params.size)
        for entry in unreadable:
            log.warning("%s", entry)
    log.info("%d rows", table.num_rows)
    write_parquet(table, outputs.raw, metadata=metadata_of(table))
