"""Prune networks of points in a plane by several criteria, from few and from many samples."""

from winnow.pipeline import stage


@stage(torch=True)
def relevance_toy(inputs, outputs, params, log):
    """Write accuracies before and after pruning, and how alike units rank from other samples."""
    import numpy as np
    import pyarrow as pa

    from winnow.evaluate import relevance_toy as toy
    from winnow.evaluate.relevance_pruning import accuracy
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet

    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    progress, tables = Progress(log, "relevance_toy", "toys"), []
    for done, name in enumerate(toy.TOYS):
        train, test = (toy.points(name, params.points, 2 * params.seed + part) for part in (0, 1))
        model = toy.toy_network(name, train, params.width, params.epochs, params.learning_rate, params.seed)
        tables.append(metric_rows({"accuracy": accuracy(model, *test)}, system="dense", variant=name, **labels))
        for kind in params.criteria:
            for samples in params.samples:
                drawn = (kind, samples, params.draws, params.share, params.seed)
                found = list(toy.runs(model, train, test, *drawn))
                values = {"accuracy": float(np.mean([run.accuracy for run in found]))}
                values["rank_agreement"] = toy.rank_agreement(np.stack([run.scores for run in found]))
                tables.append(metric_rows(values, system=kind, variant=f"{name}-n{samples}", **labels))
        progress(done + 1, len(toy.TOYS))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
