"""Train a small model that declines a harmless subject, search for suffixes that reroute it, and defend it."""

from winnow.pipeline import stage


@stage(torch=True)
def subspace_rerouting(inputs, outputs, params, log):
    """Write attacks, moved activations, scores of detectors, words that are refused, and metrics."""
    import pyarrow as pa

    from winnow.evaluate import rerouting_analysis as analysis
    from winnow.evaluate import rerouting_attacks as search
    from winnow.evaluate import rerouting_defence_study as defences
    from winnow.evaluate.subspace_rerouting import SearchConfig
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.train.refusal_model import gated_refusal_model
    from winnow.workloads.refusal_prompts import SPECIAL, prepared

    documents = [row for path in inputs.documents for row in read_parquet(path, ["package", "text"]).to_pylist()]
    asked, words = prepared(documents, params.marked, params.words, params.seed)
    model, able = gated_refusal_model(asked, len(words), params, params.seed, Progress(log, "refusal model"))
    log.info("%d questions, %d words: %s", len(asked["train"]), len(words), able)
    config = SearchConfig(
        params.search_width,
        params.topk,
        params.buffer,
        params.coefficient,
        params.patience,
        params.iterations,
        params.stop_loss,
        banned=tuple(range(len(SPECIAL))),
    )
    scene = search.scene(model, asked, params.prompts, params.seed)
    valid = search.attackable(search.told_apart(model, asked["valid"])[0], "valid").first(params.few)
    best, attacks, suffixes = search.compared(scene, valid, params, config, params.seed)
    log.info("%s does best on other prompts", best)
    targeted = search.targeted_layers(best, params.layers)
    moved, plane = analysis.moved(scene, suffixes, max(targeted), params.seed)
    lens = analysis.reverse_lens(
        scene, words, asked["train"], params.reverse_slots, params.reverse_runs, config, params.seed
    )
    noticed, scores, detectors = defences.detection(scene, asked, suffixes, targeted, params.seed)
    others, maker = defences.held_out(model, asked), search.makers(scene, params.shift)[best]
    evading = defences.adaptive(scene, maker, detectors, others, params.defended, config, params.seed)
    tuned = defences.defended(scene, asked, best, suffixes, params, config, params.seed)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    told = analysis.measures(attacks, moved, lens, analysis.probe_accuracies(scene)) | {("model", "questions"): able}
    told |= {(name, "defended"): values for name, values in {**noticed, "adaptive": evading, **tuned}.items()}
    # A step is a prompt, counted on from seed to seed.
    each = analysis.by_prompt(attacks, moved, params.seed * params.prompts)
    rows = [
        metric_rows(v, system=f"rerouting_{name}", variant=variant, **labels)
        for values in (told, each)
        for (name, variant), v in values.items()
    ]
    write_parquet(pa.concat_tables(rows), outputs.metrics)
    kept = [{"suffix": [words[i] for i in row]} for row in suffixes.tolist()] if params.keep_suffixes else []
    for table, path in ((attacks, outputs.attacks), (moved, outputs.moved), (plane, outputs.plane)):
        write_parquet(pa.Table.from_pylist(table), path)
    write_parquet(pa.Table.from_pylist(kept, pa.schema({"suffix": pa.list_(pa.string())})), outputs.suffixes)
    write_parquet(pa.Table.from_pylist(scores), outputs.scores)
    write_parquet(pa.Table.from_pylist(lens), outputs.words)
