"""Compare sub-word vocabularies on halves of the training files: code lengths, optima, language models."""

from winnow.pipeline import stage


@stage(torch=True)
def subword(inputs, outputs, params, log):
    """Write metrics of each method and size, the longer pieces, how identifiers are cut, and the optimum's file."""
    import pyarrow as pa

    from winnow.curate.subword_lattice import pack, word_counts
    from winnow.evaluate import subword_study as study
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.randomness import numpy_generator

    contents, held = (
        [text.encode() for text in read_parquet(path, ["text"])["text"].to_pylist()]
        for path in (inputs.train, inputs.held_out)
    )
    order = numpy_generator(params.seed, "subword files").permutation(len(contents))
    train = [contents[i] for i in order[: max(1, round(params.share * len(contents)))]]
    words, files = pack(word_counts(train)), [word_counts([content]) for content in held if content]
    log.info("%d files with %d different words, %d bytes", len(train), len(words.counts), words.size)
    labels = {"system": "subword", "workload": params.workload, "seed": params.seed}
    tables, pieces, progress = [], [], Progress(log, "vocabularies", "sizes")
    for done, size in enumerate(params.sizes):
        options = {"longest": params.longest, "tries": params.tries, "alpha": params.alpha}
        found = study.vocabularies(words, size, **options)
        for method, subwords in found.items():
            told, name = study.measure(subwords, words, files), f"{method}-{size}"
            by_file = [("file_bits_per_byte", value, i) for i, value in enumerate(told.pop("files"))]
            tables.append(metric_rows(by_file, variant=name, split="held_out", **labels))
            tables += [metric_rows(values, variant=name, split=split, **labels) for split, values in told.items()]
            log.info("%s: %s", name, told)
        pieces += study.pieces_rows(found, size, params.seed)
        if size == params.model_size:
            chosen = found
        progress(done + 1, len(params.sizes))
    optimum = study.against_optimum(params.corpora, params.seed)
    tables.append(metric_rows(optimum, variant="small_corpora", split="train", **labels))
    for method in params.modelled:
        seen, judged = (study.encoded(chosen[method], contents) for contents in (train, held))
        bits = {"ngram_bits_per_byte": study.ngram_bits(seen, judged, params.order)}
        budget = {"context_bytes": params.context_bytes, "steps": params.steps, "seed": params.seed}
        bits["transformer_bits_per_byte"] = study.transformer_bits(
            seen, judged, **budget, progress=Progress(log, "transformer", "steps")
        )
        log.info("language models on %s: %s", method, bits)
        tables.append(metric_rows(bits, variant=f"{method}-{params.model_size}", split="held_out", **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(pieces), outputs.pieces)
    write_parquet(pa.Table.from_pylist(study.cut_rows(chosen, words, 20)), outputs.cuts)
    chosen["swe"].save(outputs.tokenizer)
