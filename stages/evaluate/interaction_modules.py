"""Measure how pure, invariant and modular the Interaction Basis is, and how much of networks is free."""

from winnow.pipeline import stage


@stage(torch=True)
def interaction_modules(inputs, outputs, params, log):
    """Write measures of bases and of degeneracy, nodes with their modules, edges, planted layers and spectra."""
    import pyarrow as pa
    from safetensors.torch import load_file

    from winnow.dictionaries.basis_files import load_bases
    from winnow.evaluate import interaction_planted as planted
    from winnow.evaluate.interaction_study import BASES, final_losses, strengths_of
    from winnow.evaluate.pair_judge import QUESTIONS, PairJudge
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.digit_pairs import digit_pairs

    workload = load_workload(inputs.train.parent)
    networks, bases = load_file(inputs.networks), load_bases(inputs.bases)
    pairs = digit_pairs(*workload.arrays("test"), params.judged, networks["turn"], params.seed, "test")
    judge, table = PairJudge(networks, pairs, params, len(workload.classes)), read_parquet(inputs.edges)
    metrics, nodes, edges = {}, [], []
    for kind in BASES:
        measures, its_nodes, its_edges = judge.basis(kind, bases[kind], strengths_of(table, kind))
        metrics, nodes, edges = metrics | measures, nodes + its_nodes, edges + its_edges
        log.info("%s: %s", kind, measures[kind])
    freedom, spectra = judge.freedom(Progress(log, "spectra", "probes"))
    losses = final_losses(read_parquet(inputs.history))
    freedom = {name: freedom[name] | {"train_loss": losses[name]} for name in QUESTIONS}
    layers = planted.planted_counts(params.cases, params.seed)
    metrics |= judge.invariances() | freedom | {"planted": planted.counted_right(layers)}
    metrics |= planted.planted_modules(params, params.seed)
    labels = {"system": "interaction_basis", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [metric_rows(values, variant=variant, **labels) for variant, values in metrics.items()]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    seed = {"seed": params.seed}
    write_parquet(pa.Table.from_pylist([row | seed for row in nodes]), outputs.nodes)
    write_parquet(pa.Table.from_pylist([row | seed for row in edges]), outputs.edges)
    write_parquet(pa.Table.from_pylist([row | seed for row in layers]), outputs.degeneracy)
    write_parquet(pa.Table.from_pylist(spectra + planted.planted_spectra(params.seed)), outputs.spectra)
