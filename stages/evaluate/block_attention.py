"""Let a language model's attention see blocks by chance, as it is and after fine-tuning with drawn blocks."""

from winnow.pipeline import stage


@stage(torch=True)
def block_attention(inputs, outputs, params, log):
    """Write what each way of drawing loses at each cost and after fine-tuning, masses, and the requested blocks."""
    import numpy as np
    import pyarrow as pa

    from winnow.evaluate import block_attention_study as study
    from winnow.evaluate.evopress_study import windows
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.randomness import numpy_generator
    from winnow.workloads import load_workload
    from winnow.workloads.traces import trace_table

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    context, labels = workload.meta.context, {"workload": params.workload, "seed": params.seed, "split": "test"}
    x, y = windows(workload, "test", params.judged, context)
    blocks, block = -(-context // params.block), params.block
    probe, _ = windows(workload, "held_out", params.probes, context)
    copied, again = study.with_copies(probe, tuple(params.gaps), numpy_generator(params.seed, "copies"))
    full = study.judged_tuned(model, 1, (x, y), copied, again)
    tables = [metric_rows(full, system="full", variant="as trained", **labels)]
    cases = [(width, drawn) for width in params.widths for drawn in study.samplers(width, blocks, params.seed)]
    progress = Progress(log, "drawn blocks", "ways")
    for done, (width, drawn) in enumerate(cases):
        values = study.quality(model, drawn, block, x, y, params.draws)
        values |= {"expected": drawn.fraction, "share_drawn": study.share_drawn(drawn, blocks)}
        tables.append(metric_rows(values, system=drawn.name, variant=f"as trained-w{width}", **labels))
        progress(done + 1, len(cases))
    arms = {"full": None} | {d.name: d for d in study.samplers(params.tuned_width, blocks, params.seed)}
    for name in ("full", "geometric", "uniform", "window"):
        report = Progress(log, f"fine-tuning, {name}")
        tuned = study.finetuned(model, workload, params, arms[name], params.seed, report)
        draws = 1 if arms[name] is None else params.draws
        values = study.judged_tuned(tuned, draws, (x, y), copied, again)
        tables.append(metric_rows(values, system=name, variant="fine-tuned", **labels))
    mass = study.attention_mass(model, x, block)
    rows = [
        {"layer": layer, "distance": distance, "mass": value}
        for layer, those in enumerate(mass.tolist())
        for distance, value in enumerate(those)
    ]
    asked = study.requested_blocks(model, arms["geometric"], block, x)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.mass)
    pages = np.array([layer * blocks + column for layer, column in asked])
    write_parquet(trace_table({"key-value blocks": pages}), outputs.trace)
