"""Ablate directions and edges of a model in each basis until it no longer does what it does."""

from winnow.pipeline import stage


@stage(torch=True)
def basis_ablation(inputs, outputs, params, log):
    """Write how many directions and edges are needed, curves, eigenvalues, and frequencies of models that add."""
    import pyarrow as pa
    import torch

    from winnow.dictionaries.basis_files import load_bases
    from winnow.evaluate import ablation_study as study
    from winnow.evaluate.interaction_study import strengths_of
    from winnow.evaluate.network_sections import sections_of
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.workloads import load_workload

    train = getattr(inputs, "train", None)  # sums need no data
    # Thousands of runs; what they are judged by is far from single precision, other than eigenvalues of bases.
    sections = sections_of(load_model(inputs.model), train and load_workload(train.parent), params, torch.float32)
    bases, table = load_bases(inputs.bases, torch.float32), read_parquet(inputs.edges)
    metrics, curves, directions = {}, [], []
    for kind in params.kinds:
        strengths = {
            formula: dict(zip(sections.edges, strengths_of(table, kind, formula), strict=True))
            for formula in params.edges
        }
        progress = Progress(log, kind, "layers")
        measures, points = study.ablated(kind, sections, bases[kind], strengths, params.drops, progress)
        labels = study.labels_of(sections, bases[kind]) if train is None else {}
        modules = {}
        if kind in study.COMPARED:
            found, modules = study.modular(sections, bases[kind], strengths[params.edges[0]], params.seed)
            measures[kind] |= found
        directions += study.direction_rows(kind, sections, bases[kind], labels, modules)
        metrics |= study.merged(measures, study.mean_shares(kind, sections, bases[kind], labels))
        curves += points
        log.info("%s: %s", kind, measures[kind])
    told = {"system": "local_interaction_basis", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [metric_rows(values, variant=variant, **told) for variant, values in metrics.items()]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    seed = {"seed": params.seed}
    write_parquet(pa.Table.from_pylist([row | seed for row in curves]), outputs.curves)
    write_parquet(pa.Table.from_pylist([row | seed for row in directions]), outputs.directions)
    graph = study.strongest_edges(table, sections.names, params.edges[0])
    write_parquet(pa.Table.from_pylist([row | seed for row in graph]), outputs.graph)
