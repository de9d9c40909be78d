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
        told({"relative_error": row["error"], "rank": row["rank"]}, f"lora_{row['case']}", variant)
    told(study.rank_slope(rows, study.TOLERANCE), "lora_full", "log rank by gamma squared")
    mapped = study.phase_map(params, Progress(log, "phase map", "cases"))
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
    workload, model, entries = load_workload(inputs.train.parent), load_model(inputs.model), []
    for variant, values in study.bounded(model, workload, params).items():
        log.info("%s: %s", variant, values)
        told(values, "bounded", variant)
    for gain, degree in [*((gain, None) for gain in params.gains), (params.gains[-1], params.fast_degree)]:
        system = "lora" if degree is None else "lora_fast"
        report = Progress(log, f"alpha / r {gain:g}, {system}")
        tuned, found = study.finetuned(model, workload, gain, params, report, degree)
        last = [row for row in found if row["step"] == found[-1]["step"]]
        first = [row for row in found if row["step"] == 0]
        values = study.entries_told(last)
        values["growth"] = values["largest_entry"] / study.entries_told(first)["largest_entry"]
        values |= {"cross_entropy": workload.metrics(tuned, "valid")["cross_entropy"]}
        log.info("alpha / r %g, %s: %s", gain, system, values)
        told(values, system, f"gain {gain:g}")
        if degree is None:
            entries += [row | {"gain": gain, "seed": params.seed} for row in found]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(timings), outputs.timings)
    write_parquet(pa.Table.from_pylist([row | {"seed": params.seed} for row in rows]), outputs.gradients)
    write_parquet(pa.Table.from_pylist([row | {"seed": params.seed} for row in mapped]), outputs.phases)
    write_parquet(pa.Table.from_pylist(entries), outputs.norms)
