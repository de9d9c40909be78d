"""Curate source files: drop what cannot be used and near copies, split what stays, and tokenise it."""

from winnow.pipeline import stage


@stage
def curate_text(inputs, outputs, params, log):
    """Write the four splits with their tokens, the tokenizer, what was dropped and why, and the licences."""
    from winnow.curate.byte_pairs import encode, train_byte_pairs
    from winnow.curate.texts import curate_texts
    from winnow.pipeline.acquire import sources_table
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet
    from winnow.workloads.text_tables import TextMeta

    curated = curate_texts(
        read_parquet(inputs.raw),
        workload=params.workload,
        split_salt=params.split_salt,
        fractions=params.fractions,
        held_out=params.held_out,
        licences=params.licences,
        near_duplicate_similarity=params.near_duplicate_similarity,
        related_similarity=params.related_similarity,
    )
    report = curated.report
    log.info("kept %d of %d files; dropped %s", report["kept"], report["rows_in"], report["dropped"])
    tokenizer = train_byte_pairs(curated.tables["train"]["text"].to_pylist(), params.vocabulary)
    outputs.tokenizer.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    metadata = TextMeta(params.vocabulary, params.context, params.workload).encode()
    for split, table in curated.tables.items():
        tokens = encode(tokenizer, table["text"].to_pylist())
        report["splits"][split]["tokens"] = len(tokens.values)
        write_parquet(table.append_column("tokens", tokens), getattr(outputs, split), metadata=metadata)
    log.info("splits: %s", report["splits"])
    counts = {"rows_in": report["rows_in"], "kept": report["kept"]}
    counts |= {f"dropped_{reason}": n for reason, n in report["dropped"].items()}
    labels = {"system": "curate_text", "workload": params.workload, "variant": "all", "seed": params.seed}
    write_parquet(metric_rows(counts, split="all", units=dict.fromkeys(counts, "files"), **labels), outputs.metrics)
    write_parquet(curated.dropped, outputs.dropped)
    write_parquet(sources_table(params.sources or [], "data/sources.yaml"), outputs.sources)
    write_json(report, outputs.report)
