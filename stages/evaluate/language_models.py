"""Measure a language model beside n-gram models, on files of known packages and on whole packages never seen."""

from winnow.pipeline import stage


@stage(torch=True)
def language_models(inputs, outputs, params, log):
    """Write bits per byte and nats a token of each model on valid, test and held_out."""
    import pyarrow as pa

    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.ngram import fit_ngram
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model = load_model(inputs.model)
    progress, tables = Progress(log, "language models", "splits"), []
    ngrams = {f"{n}-gram": fit_ngram(workload.tokens("train"), n, workload.meta.vocabulary) for n in params.orders}
    splits = ("valid", "test", "held_out")
    for done, split in enumerate(splits):
        found = {params.model: workload.metrics(model, split)}
        found |= {
            name: workload.rates(ngram.probabilities(workload.tokens(split)), split) for name, ngram in ngrams.items()
        }
        labels = {"system": "language_models", "workload": params.workload, "seed": params.seed, "split": split}
        tables += [metric_rows(metrics, variant=name, **labels) for name, metrics in found.items()]
        progress(done + 1, len(splits))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
