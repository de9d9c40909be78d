"""Join the shards of a raw table of source files, and decide what becomes of each file."""

from winnow.pipeline import stage


@stage
def curate_text_fates(inputs, outputs, params, log):
    """Write a row for each file: why it is dropped, or where it goes."""
    from functools import partial

    import pyarrow as pa

    from winnow.curate.code_signals import THRESHOLDS
    from winnow.curate.texts import decide_fates, report_of
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import read_parquet, write_parquet
    from winnow.workloads.shard_join import join_shards

    shards = [path.with_suffix("") for path in inputs.index]
    limits = {name: tuple(pair) for name, pair in vars(params.thresholds).items()}
    fates = decide_fates(
        pa.concat_tables(read_parquet(path) for path in inputs.files),
        partial(join_shards, shards, progress=Progress(log, "join", "partitions")),
        workload=params.workload,
        split_salt=params.split_salt,
        fractions=params.fractions,
        held_out=params.held_out,
        near_duplicate_similarity=params.near_duplicate_similarity,
        related_similarity=params.related_similarity,
        thresholds={**THRESHOLDS, **limits} if params.signals else None,
        downsample=params.downsample,
    )
    report = report_of(fates)
    log.info("kept %d of %d files; dropped %s", report["kept"], report["rows_in"], report["dropped"])
    write_parquet(fates, outputs.fates)
