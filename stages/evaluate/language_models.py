"""Measure language models beside n-gram models: files of known packages, packages never seen, texts they write."""

from winnow.pipeline import stage


@stage(torch=True)
def language_models(inputs, outputs, params, log):
    """Write bits per byte on unseen splits and, by each back end, on texts; curves, costs, speeds and drawn texts."""
    import pyarrow as pa

    from winnow.errors import InputError
    from winnow.evaluate import language_report as study
    from winnow.models import load_model
    from winnow.pipeline.acquire import default_cache
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet
    from winnow.train.ngram import fit_ngram
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    nets = {path.parent.parent.name: path for path in inputs.models}
    labels = {"system": "language_models", "workload": params.workload, "seed": params.seed}
    tables, curves, timings, samples, told = [], [], [], [], {}
    ngrams = {f"{n}-gram": fit_ngram(workload.tokens("train"), n, workload.meta.vocabulary) for n in params.orders}
    unseen, loaded = study.unseen_split(workload), {name: load_model(path) for name, path in nets.items()}
    for split in dict.fromkeys(("valid", "test", unseen)):
        # What nets reach on valid, their training has told.
        asked = {} if split == "valid" else loaded
        found = {name: workload.metrics(net, split) for name, net in asked.items()}
        found |= {n: workload.rates(ngram.probabilities(workload.tokens(split)), split) for n, ngram in ngrams.items()}
        tables += [metric_rows(values, variant=name, split=split, **labels) for name, values in found.items()]
    for name, path in zip(nets, inputs.histories, strict=True):
        curve = study.learning_curve(read_parquet(path), workload.bytes_per_token("train"))
        curves.append(metric_rows(curve, variant=name, split="train", **labels))
    texts = study.judged_texts(workload, unseen, params.judged_bytes)
    published, answers = {path.stem: path for path in inputs.published}, default_cache() / "endpoints.jsonl"
    several = (nets, ngrams, published, params.endpoint)
    progress = Progress(log, "language models", "models")
    for name, model in study.opened(workload, *several, answers):
        told[name] = study.abilities(model)
        found = study.measured(model, name, texts, params)
        if isinstance(found, InputError):
            told[name] = study.abilities(found)
            log.warning("%s: is left out: %s", name, found)
            tables.append(metric_rows({"refused": 1.0}, variant=name, split="texts", **labels))
            continue
        if found.scores:
            tables.append(metric_rows(found.scores, variant=name, split="texts", **labels))
        samples += found.samples
        tables.append(metric_rows(found.costs, variant=name, split="drawn", **labels))
        units = dict.fromkeys(found.speeds, "tokens a second")
        timings.append(metric_rows(found.speeds, variant=name, split="texts", units=units, **labels))
        progress(len(told), len(nets) + len(params.orders) + len(published) + (params.endpoint is not None))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(curves), outputs.history)
    write_parquet(pa.concat_tables(timings), outputs.timings)
    write_parquet(pa.Table.from_pylist(samples, study.SAMPLES), outputs.samples)
    write_json(told, outputs.backends)
