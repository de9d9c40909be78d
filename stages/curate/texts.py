"""Gather the source files that stay into splits, and tokenise them."""

from winnow.pipeline import stage


@stage
def curate_text(inputs, outputs, params, log):
    """Write the four splits with their tokens, the tokenizer, what was dropped and why, and the licences."""
    from contextlib import closing

    from winnow.curate.byte_pairs import train_byte_pairs
    from winnow.curate.text_documents import CURATED, Documents
    from winnow.curate.texts import SPLITS, dropped_of, report_of
    from winnow.pipeline.acquire import sources_table
    from winnow.pipeline.streams import read_rows, write_row_groups
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet
    from winnow.workloads.text_tables import TextMeta

    fates = read_parquet(inputs.fates)
    report, place = report_of(fates), outputs.train.with_name("texts")
    metadata = TextMeta(params.vocabulary, params.context, params.workload).encode()
    with closing(Documents(fates, place, params.clean)) as documents:
        for rows in read_rows(inputs.raw, 0, fates.num_rows):
            documents.add(rows)
        tokenizer = train_byte_pairs(documents.texts_of("train"), params.vocabulary)
        outputs.tokenizer.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
        for split in SPLITS:
            write_row_groups(documents.tokenised(split, tokenizer), getattr(outputs, split), CURATED, metadata)
            report["splits"][split]["tokens"] = documents.tokens[split]
    place.unlink()
    log.info("splits: %s", report["splits"])
    counts = {"rows_in": report["rows_in"], "kept": report["kept"]}
    counts |= {f"dropped_{reason}": n for reason, n in report["dropped"].items()}
    labels = {"system": "curate_text", "workload": params.workload, "variant": "all", "seed": params.seed}
    write_parquet(metric_rows(counts, split="all", units=dict.fromkeys(counts, "files"), **labels), outputs.metrics)
    write_parquet(dropped_of(fates), outputs.dropped)
    write_parquet(sources_table(params.sources or [], "data/sources.yaml"), outputs.sources)
    write_json(report, outputs.report)
