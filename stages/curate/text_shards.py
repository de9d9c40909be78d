"""Judge the files of one shard of a raw table, each by itself, and hash those that can be used."""

from winnow.pipeline import stage


@stage
def curate_text_shard(inputs, outputs, params, log):
    """Write what is known of each file but its text, and the shard's shingles and keys."""
    import pyarrow as pa

    from winnow.curate.texts import judge_files
    from winnow.pipeline.streams import count_rows, read_rows
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads.shard_join import write_shard

    rows, shard = count_rows(inputs.raw), int(params.shard)
    first, last = (number * rows // params.shards for number in (shard, shard + 1))
    judged = []

    def usable():
        for table in read_rows(inputs.raw, first, last):
            asked = {"clean": params.clean, "measured": params.signals, "classed": params.downsample < 1}
            judged.append(judge_files(table, licences=params.licences, **asked))
            reasons = judged[-1]["reason"].to_pylist()
            yield from ("" if why else text for text, why in zip(table["text"].to_pylist(), reasons, strict=True))

    write_shard(usable(), outputs.index.with_suffix(""))
    table = pa.concat_tables(judged)
    log.info("rows %d to %d: %d of %d files can be used", first, last, table["reason"].null_count, table.num_rows)
    write_parquet(table, outputs.files)
