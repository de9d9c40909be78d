"""Look by weights of transcoders for how a small language model tells later years."""

from winnow.pipeline import stage


@stage(torch=True)
def transcoder_circuits(inputs, outputs, params, log):
    """Write the metrics, how many latents and neurons are enough, what years the best latents read, a circuit, and of
    each of these latents a graph of paths, all that gives to it, and where it fires most."""
    import pyarrow as pa

    from winnow.dictionaries import load
    from winnow.dictionaries.harvest import corpus_of
    from winnow.evaluate.transcoder_graphs import study
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    dictionaries = [load(path) for path in inputs.dictionaries]
    transcoders = {int(found.info["hook"].split(".")[1]): found for found in dictionaries}
    corpus = corpus_of(load_workload(inputs.train.parent), "test")
    found = study(load_model(inputs.model), transcoders, corpus, params, params.seed)
    labels = {"system": "transcoder_circuits", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [metric_rows(values, variant=variant, **labels) for variant, values in found.metrics.items()]
    log.info("later years: %s", {name: round(value, 3) for name, value in found.metrics["years"].items()})
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    for name in ("curves", "years", "edges", "graphs", "contributions", "features"):
        rows = [{**row, "seed": params.seed} for row in getattr(found, name)]
        write_parquet(pa.Table.from_pylist(rows), getattr(outputs, name))
