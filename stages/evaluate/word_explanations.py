"""Train encoders that tell topics of documentation, and explain them word by word in several ways."""

from winnow.pipeline import stage


@stage(torch=True)
def word_explanations(inputs, outputs, params, log):
    """Write what explanations say of joined texts, planted phrases and a better model, and measures of each."""
    import pyarrow as pa

    from winnow.evaluate import word_explanation_study as study
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.train.topic_classifier import better_and_worse
    from winnow.workloads.docstring_topics import PLANTED, PlantedTopics, longest, prepared

    documents = [row for path in inputs.documents for row in read_parquet(path, ["package", "text"]).to_pylist()]
    topics = vars(params.topics)
    texts, words = prepared(documents, topics, params.words)
    lessons = PlantedTopics(texts, len(topics), tuple(words.index(word) for word in PLANTED))
    pair = better_and_worse(lessons, len(words), longest(), params, params.seed, Progress(log, "encoders"))
    log.info("%d texts, %d words: %s", len(texts["train"]), len(words), pair.measured)
    halves, shown, phrases, found = study.study(
        pair, lessons, len(words), params, params.seed, Progress(log, "explanations")
    )
    if not phrases:
        log.warning("no planted phrase turns a text that neither of its words turns: the seed has no row of phrases")
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    told = {("words", name): values for name, values in pair.measured.items()}
    told |= {(f"words_{name}", "better"): values for name, values in study.measures(halves, phrases, found).items()}
    rows = [metric_rows(v, system=system, variant=variant, **labels) for (system, variant), v in told.items()]
    write_parquet(pa.concat_tables(rows), outputs.metrics)
    names = list(topics)
    named = [
        row | {"word": words[row["token"]], "first": names[row["first"]], "second": names[row["second"]]}
        for row in shown
    ]
    for table, path in (
        (halves, outputs.joined),
        (named, outputs.words),
        (phrases, outputs.phrases),
        (found, outputs.user),
    ):
        write_parquet(pa.Table.from_pylist(table), path)
