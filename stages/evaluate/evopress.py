"""Search for the compression of each unit of a language model, beside simpler choices of equal cost."""

from winnow.pipeline import stage


@stage(torch=True)
def evopress(inputs, outputs, params, log):
    """Write what each arm loses on texts apart, the searches' histories, and the level of each unit."""
    import numpy as np
    import pyarrow as pa

    from winnow.compress.evopress_database import depth_database, load_database
    from winnow.compress.evopress_fitness import Divergence
    from winnow.evaluate import evopress_study
    from winnow.evaluate.evopress_audit import audit_summary
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    x, _ = evopress_study.windows(workload, "train", params.calibration, params.length)
    judged = evopress_study.windows(workload, "test", params.judged, params.length)
    evopress_study.require_apart(x, judged[0])
    layers = [(load_database(inputs.sparsity), 0), (load_database(inputs.bits), params.bits)]
    arms, blocks = evopress_study.all_arms(
        model, x, layers, params, params.seed, lambda kind: Progress(log, kind, "generations")
    )
    audit = read_parquet(inputs.audit).to_pylist()
    values = audit_summary(audit, read_parquet(inputs.violations).to_pylist())
    best = min(row["error"] for row in audit if len(row["dropped"]) == params.blocks)
    fitness = Divergence(model, depth_database(model, whole_blocks=True), x)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [metric_rows(values, system="evopress", variant="blocks", **labels)]
    for arm, chosen in blocks.items():
        over = {"over_optimum": fitness(chosen.state, np.arange(len(x))) / best}
        tables.append(metric_rows(over, system=arm, variant="blocks", **labels))
    units = {"window_cross_entropy": "nats"}
    for kind, those in arms.items():
        for arm, chosen in those.items():
            losses = evopress_study.window_losses(model, chosen.weights, *judged)
            found = [("cross_entropy", float(losses.mean()), None)]
            found += [("window_cross_entropy", loss, window) for window, loss in enumerate(losses.tolist())]
            tables.append(metric_rows(found, system=arm, variant=kind, units=units, **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(evopress_study.histories(arms)), outputs.history)
    write_json(evopress_study.levels_of(arms), outputs.levels)
