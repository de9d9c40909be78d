"""Compress every layer of a language model at every level, and try all small sets of dropped blocks."""

from winnow.pipeline import stage


@stage(torch=True)
def evopress_database(inputs, outputs, params, log):
    """Write the databases of sparsity and of bits, the audit of sums of errors, and the violations looked at again."""
    import pyarrow as pa

    from winnow.compress.evopress_database import depth_database, layer_databases, save_database
    from winnow.compress.evopress_fitness import Divergence
    from winnow.evaluate.evopress_audit import VIOLATIONS, confirmed, monotonicity_audit, violations
    from winnow.evaluate.evopress_study import windows
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    x, _ = windows(workload, "train", params.calibration, params.length)
    sparsity, bits = layer_databases(model, x, params.sparsity, Progress(log, "databases", "layers"))
    save_database(sparsity, outputs.sparsity)
    save_database(bits, outputs.bits)
    blocks = depth_database(model, whole_blocks=True)
    fitness = Divergence(model, blocks, x)
    rows = monotonicity_audit(blocks, fitness, len(x), params.blocks, Progress(log, "audit", "sets of blocks"))
    found = confirmed(violations(rows), model, blocks, *windows(workload, "test", params.judged, params.length))
    write_parquet(pa.Table.from_pylist(rows), outputs.audit)
    write_parquet(pa.Table.from_pylist(found, VIOLATIONS), outputs.violations)
