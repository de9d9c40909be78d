"""Train small models as a recipe for code models has it after its corpus: anneal on mixtures, then tune in stages."""

from winnow.pipeline import stage


@stage(torch=True)
def opencoder_training(inputs, outputs, params, log):
    """Write metrics of each arm, and the exercises with what became of each solution in the sandbox."""
    import pyarrow as pa

    from winnow.curate.byte_pairs import load_tokenizer
    from winnow.evaluate import code_sources
    from winnow.evaluate import code_training_study as study
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet

    seed, tokenizer = params.seed, load_tokenizer(inputs.tokenizer)
    train, held = (read_parquet(path, ["package", "text"]) for path in (inputs.train, inputs.held_out))
    made = code_sources.made(params.exercises, params.faults, params.judged, params.unseen, seed)
    sound = code_sources.soundness(made, seed)
    log.info("%d of %d solutions pass their tests: %s", len(made.verified), len(made.learned), sound)
    corpus = study.gathered(train, held, made, tokenizer, params, seed)
    labels = {"system": "opencoder_training", "workload": params.workload, "seed": seed}
    tables = [metric_rows(sound, variant="verification", split="train", **labels)]

    def told(name, model, instructed=False):
        scores = study.judged(model, corpus, tokenizer, params, instructed)
        log.info("%s: %s", name, scores)
        tables.extend(metric_rows(values, variant=name, split=split, **labels) for split, values in scores.items())

    state = study.stable(corpus, tokenizer, params, seed, Progress(log, "stable"))
    told("stable", state[0])
    for name, shares in study.mixtures(vars(params.shares)).items():
        model, passes = study.annealed(state, corpus, shares, params, seed, Progress(log, name))
        told(name, model)
        passed = {f"passes_{source}": value for source, value in passes.items()}
        tables.append(metric_rows(passed, variant=name, split="train", **labels))
        if name == "mixture":
            chosen = model
    for arm in ("broad", "tasks", "mixed", "two stages"):
        told(f"tuned: {arm}", study.tuned(chosen, corpus, arm, params, seed, Progress(log, arm)), instructed=True)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    rows = [
        {"task": e.task, "solution": e.text, "fault": e.fault, "outcome": outcome}
        for e, outcome in zip(made.learned, made.outcomes, strict=True)
    ]
    write_parquet(pa.Table.from_pylist(rows), outputs.synthetic)
