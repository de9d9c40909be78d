"""Generate the documents of a small language, each split from combinations of its own."""

from winnow.pipeline import stage


@stage
def curate_sequences(inputs, outputs, params, log):
    """Write the three splits with their tokens; the words of the tokens stand in their metadata."""
    from winnow.pipeline.tables import metric_rows, write_json, write_parquet
    from winnow.workloads.names_language import SPLITS, documents, vocabulary
    from winnow.workloads.sequences import SequenceMeta

    metadata = SequenceMeta(vocabulary(), params.context, params.workload).encode()
    counts = dict(zip(SPLITS, params.documents, strict=True))
    for split, count in counts.items():
        write_parquet(documents(split, count, params.seed), getattr(outputs, split), metadata=metadata)
    log.info("generated %s", counts)
    labels = {"system": "curate_sequences", "workload": params.workload, "variant": "all", "seed": params.seed}
    units = dict.fromkeys(counts, "documents")
    write_parquet(metric_rows(counts, split="all", units=units, **labels), outputs.metrics)
    write_json({"splits": counts, "words": len(vocabulary())}, outputs.report)
