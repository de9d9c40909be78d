"""Compare fast gradients of adapters with exact ones, and watch the entries that they depend on in a real model."""

from winnow.pipeline import stage


@stage(torch=True)
def lora_limits(inputs, outputs, params, log):
    """Write errors by entries and degree, the fit of ranks, entries of heads before and while adapters are trained."""
    import pyarrow as pa

    from winnow.evaluate import lora_study as study
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    rows = list(study.errors(params.gammas, params.degrees, params.length, params))
    tables = [
        metric_rows(
            {"relative_error": row["error"], "rank": row["rank"]},
            system=f"lora_{row['case']}",
            variant=f"gamma {row['gamma']:g}, degree {row['degree']}",
            **labels,
        )
        for row in rows
    ]
    fit = study.rank_slope(rows, 1e-3)
    tables.append(metric_rows(fit, system="lora_full", variant="log rank by gamma squared", **labels))
    workload, model, entries = load_workload(inputs.train.parent), load_model(inputs.model), []
    for gain in params.gains:
        report = Progress(log, f"alpha / r {gain:g}")
        tuned, found = study.finetuned(model, workload, gain, params, report)
        entries += [row | {"gain": gain, "seed": params.seed} for row in found]
        last = [max(row["query"], row["key"]) for row in found if row["step"] == found[-1]["step"]]
        first = [max(row["query"], row["key"]) for row in found if row["step"] == 0]
        feasible = sum(top <= found[0]["bound"] for top in last) / len(last)
        values = {"largest_entry": max(last), "growth": max(last) / max(first), "heads_below_bound": feasible}
        values |= {"cross_entropy": workload.metrics(tuned, "valid")["cross_entropy"]}
        log.info("alpha / r %g: %s", gain, values)
        tables.append(metric_rows(values, system="lora", variant=f"gain {gain:g}", **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist([row | {"seed": params.seed} for row in rows]), outputs.gradients)
    write_parquet(pa.Table.from_pylist(entries), outputs.norms)
