"""Compare fast gradients of adapters with exact ones, and watch the entries that they depend on in a real model."""

from winnow.pipeline import stage


@stage(torch=True)
def lora_limits(inputs, outputs, params, log):
    """Write errors by entries and degree, ranks, work and time by length, and entries of heads, bounded or not."""
    import time

    import pyarrow as pa

    from winnow.evaluate import lora_study as study
    from winnow.evaluate.scaling import exponent
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    rows = list(study.errors(params.gammas, params.degrees, params.length, params))
    tables, timings = [], []

    def told(values, system, variant, into=tables):
        into.append(metric_rows(values, system=system, variant=variant, **labels))

    for row in rows:
        variant = f"gamma {row['gamma']:g}, degree {row['degree']}"
        values = {"relative_error": row["error"], "rank": row["rank"], "negative_denominators": row["negative"]}
        told(values, f"lora_{row['case']}", variant)
    mapped = study.phase_map(params, Progress(log, "phase map", "cases"))
    told(study.rank_slope(mapped), "phase_map", "log rank by gamma squared")
    for length in params.map_lengths:
        told(study.reached(mapped, length), "phase_map", f"{length} tokens")
    lengths = list(study.work_and_time(params, time.process_time))
    for row in lengths:
        system, variant = f"{row['method']}_gradients", f"{row['tokens']} tokens"
        told({"work": row["work"], "largest": row["largest"], "relative_error": row["error"]}, system, variant)
        told({"seconds": row["seconds"]}, system, variant, timings)
    for method in ("exact", "fast"):
        mine = [row for row in lengths if row["method"] == method]
        for of, into in (("work", tables), ("seconds", timings)):
            power = exponent(params.lengths, [row[of] for row in mine])
            told({f"{of}_exponent": power}, f"{method}_gradients", "growth", into)
    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    for variant, values in study.bounded(model, workload, params).items():
        log.info("%s: %s", variant, values)
        told(values, "bounded", variant)
    tuned, entries = study.tuning(model, workload, params, lambda name: Progress(log, name))
    for system, variant, values in tuned:
        log.info("%s, %s: %s", system, variant, values)
        told(values, system, variant)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(timings), outputs.timings)
    write_parquet(pa.Table.from_pylist([row | {"seed": params.seed} for row in rows]), outputs.gradients)
    write_parquet(pa.Table.from_pylist([row | {"seed": params.seed} for row in mapped]), outputs.phases)
    write_parquet(pa.Table.from_pylist(entries), outputs.norms)
