"""Recall documentation of some packages from that of all, in rounds."""

from winnow.pipeline import stage


@stage
def code_recall(inputs, outputs, params, log):
    """Write recall and precision of each round as metrics with the round as step, and those of the last round."""
    import pyarrow as pa

    from winnow.curate.byte_pairs import load_tokenizer
    from winnow.evaluate.code_recall_study import pages_of, study
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet

    documents = [d for path in inputs.documents for d in read_parquet(path, ["package", "path", "text"]).to_pylist()]
    pages = pages_of(documents)
    options = {"share": params.share, "rounds": params.rounds, "domain_share": params.domain_share, "seed": params.seed}
    found = study(pages, params.wanted, load_tokenizer(inputs.tokenizer), **options)
    log.info("%d pages: %s", len(pages), found)
    labels = {"system": "code_recall", "workload": params.workload, "seed": params.seed, "split": "train"}
    told = [(name, value, row["round"]) for row in found for name, value in row.items() if name != "round"]
    tables = [metric_rows(told, variant="rounds", **labels)]
    for name, row in (("first", found[0]), ("last", found[-1])):
        tables.append(metric_rows({k: row[k] for k in ("recall", "precision")}, variant=name, **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
