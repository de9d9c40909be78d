"""Look for the circuits of a small language model's tasks, by decomposition and by patching."""

from winnow.pipeline import stage


@stage(torch=True)
def contextual_decomposition(inputs, outputs, params, log):
    """Write scores of nodes, faithfulness of circuits, measures of both, and CPU seconds."""
    import pyarrow as pa

    from winnow.evaluate import circuit_study as study
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet

    model = load_model(inputs.model)
    nodes, curves, seconds, measures = study.study(model, params, params.seed, Progress(log, "circuits"))
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables = []
    for (method, task), draws in measures.items():
        # A step is a draw of prompts, counted on from seed to seed; without one stands the mean of all.
        first = params.seed * params.draws
        values = [(name, value, first + draw) for draw, found in enumerate(draws) for name, value in found.items()]
        means = [(name, sum(found[name] for found in draws) / len(draws), None) for name in draws[0]]
        tables.append(metric_rows(values + means, system=method, variant=task, **labels))
        log.info("%s, %s: %s", task, method, {name: round(value, 3) for name, value, _ in means})
    edges = []
    for task, prompts in study.tasks(model, "test", params.evaluated, params, params.seed):
        ratios = study.work_ratios(measures, task) | {"missed": study.sums_exactly(model, prompts)}
        edges += study.circuit(model, task, prompts, params.seed)
        tables.append(metric_rows(ratios, system="work", variant=task, **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(nodes), outputs.nodes)
    write_parquet(pa.Table.from_pylist(curves), outputs.faithfulness)
    write_parquet(pa.Table.from_pylist(edges), outputs.circuit)
    write_parquet(pa.Table.from_pylist(seconds), outputs.timings)
