"""Search for word2vec's settings by the cross-entropy method and by its rivals, and judge what they find."""

from winnow.pipeline import stage


@stage
def word2vec_ceo(inputs, outputs, params, log):
    """Write scores of what each method found, all trials, the laws, the vectors and neighbours; CPU seconds apart."""
    import pyarrow as pa
    from safetensors.numpy import save_file

    from winnow.evaluate import word2vec_study as study
    from winnow.evaluate.word2vec_corpora import corpus_of
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_json, write_parquet

    words = corpus_of(inputs.train.parent, params.tokens, params.vocabulary, params.questions)
    labels = {"workload": params.workload, "seed": params.seed}
    found, tables, rows, timings, laws = {"default": study.DEFAULT}, [], [], [], []
    for method in study.METHODS:
        report = Progress(log, method, "trials")
        trials, law = study.search(method, words, params.rounds, params.trials, params, params.seed, report)
        found[method] = study.best_point(trials)
        laws += law
        for i, trial in enumerate(trials):
            if trial.score != trial.score:
                log.warning("%s: trial %d diverged and counts as worst: %s", method, i + 1, trial.point)
        rows += [
            {"method": method, "trial": i, "round": t.round, "score": t.score, "elite": t.elite, **t.point}
            for i, t in enumerate(trials)
        ]
        timings.append(metric_rows(study.costs(trials), system=method, variant="all", split="valid", **labels))
    mode = ("cross_entropy", "mode", laws[-1]["mode"])
    for method, variant, point in [*((method, "found", point) for method, point in found.items()), mode]:
        values = {
            "hit_rate": study.judged(words, point, params.seed, params.fresh),
            "edge_hits": study.edge_hits(point),
        }
        tables.append(metric_rows(values, system=method, variant=variant, split="test", **labels))
    for name, value in study.rounds_of(rows).items():
        values = {"mean_hit_rate": value}
        tables.append(metric_rows(values, system="cross_entropy", variant=name, split="valid", **labels))
    models = {name: study.trained(words, point, params.seed) for name, point in found.items()}
    tuned = models["cross_entropy"]
    save_file({"vectors": tuned.vectors, "context": tuned.context}, outputs.vectors)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.trials)
    write_parquet(pa.concat_tables(timings), outputs.timings)
    near = {name: study.neighbours(words, model, 10) for name, model in models.items()}
    write_json({"found": found, "mode": mode[2], "laws": study.plain(laws), "neighbours": near}, outputs.found)
