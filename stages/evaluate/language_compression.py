"""Judge every compressed language model beside the dense one that it came from, by one interface."""

from winnow.pipeline import stage


@stage(torch=True)
def language_compression(inputs, outputs, params, log):
    """Write bits per byte, bytes on disk, peak memory and bytes of the cache of each model, and its speed."""
    import pyarrow as pa

    from winnow.evaluate import language_compression as study
    from winnow.evaluate.language_report import judged_texts, unseen_split
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    texts = judged_texts(workload, unseen_split(workload), params.judged_bytes)
    models = {path.parent.parent.name: path for path in inputs.models}
    dense = {"evopress": inputs.evopress_of, "duo": inputs.routed_of, "caches": inputs.streamed}
    origins = {name: path.parent.parent.name for name, path in dense.items()}
    files = (models, inputs.evopress, inputs.routed, inputs.streamed)
    made = study.artefacts(*files, params.caches, params.cut, origins)
    units = {"peak_bytes": "bytes", "cache_bytes": "bytes", "bytes": "bytes"}
    units |= dict.fromkeys(("scored_per_second", "drawn_per_second"), "tokens a second")
    tables, timings = [], []
    progress = Progress(log, "compressed language models", "models")
    for artefact in made:
        metrics, speeds = study.told(workload, artefact, texts, params.tokens)
        labels = {"system": artefact.dense, "variant": artefact.name, "workload": params.workload}
        labels |= {"seed": params.seed, "split": "texts", "units": units}
        tables.append(metric_rows(metrics, **labels))
        timings.append(metric_rows(speeds, **labels))
        progress(len(tables), len(models) + len(inputs.evopress) + 1 + len(params.caches))
    for order in params.orders:
        name = f"{order}-gram"
        labels = {"system": name, "variant": name, "workload": params.workload, "seed": params.seed, "split": "texts"}
        tables.append(metric_rows(study.told_of_ngram(workload, order, texts), **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(timings), outputs.timings)
