"""Plant forks in the files of packages, take the pool through a recipe's arms, and compare what each teaches."""

from winnow.pipeline import stage


@stage
def opencoder(inputs, outputs, params, log):
    """Write metrics of each arm, the funnel of each, why each file went, some of them, and the originals' signals."""
    import pyarrow as pa

    from winnow.curate.byte_pairs import load_tokenizer
    from winnow.evaluate import opencoder_study as study
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet

    packages = sorted(set(read_parquet(inputs.held_out, ["package"])["package"].to_pylist()))
    tokenizer = load_tokenizer(inputs.tokenizer)
    originals, apart, funnel = study.pool_of(read_parquet(inputs.raw), packages)
    pool, source = study.with_forks(originals, params.copies, params.verbatim, params.seed)
    log.info("%d files, %d of them planted forks; %d held out", len(pool), len(source), len(apart))
    thresholds = {name: tuple(limits) for name, limits in vars(params.thresholds).items()}
    found = study.arms(pool, thresholds, params.similarity, params.share, params.seed)
    texts = {"held_out": apart, "held_out_filtered": study.filtered(apart, thresholds)}
    judges = {split: study.held(each, tokenizer) for split, each in texts.items()}
    labels = {"system": "opencoder", "workload": params.workload, "seed": params.seed}
    funnel = [{"arm": "pool", **row} for row in funnel]
    tables, dropped, progress = [], [], Progress(log, "arms", "arms")
    for done, (arm, (files, gone, steps)) in enumerate(found.items()):
        counts = {"files": len(files), "dropped": len(gone), "bytes": sum(len(file.text.encode()) for file in files)}
        counts["chunks_cut"] = sum(file.cut for file in files)
        scores = study.fork_scores(pool, gone, source)
        log.info("%s: %s %s", arm, counts, scores)
        tables.append(metric_rows(counts | scores, variant=arm, split="train", **labels))
        told = study.learned(files, judges, tokenizer, params.budget, params.order, params.seed)
        tables += [metric_rows(values, variant=arm, split=split, **labels) for split, values in told.items()]
        funnel += [{"arm": arm, **row} for row in steps]
        dropped += [{"arm": arm, **vars(drop)} for drop in gone]
        progress(done + 1, len(found))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(funnel), outputs.funnel)
    write_parquet(pa.Table.from_pylist(dropped), outputs.dropped)
    write_parquet(study.shown(pool, found["downsample"][1], params.seed), outputs.shown)
    write_parquet(study.judged(originals, thresholds), outputs.signals)
