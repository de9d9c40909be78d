"""Boil a workload's metrics down to one small JSON file, for `dvc metrics`."""

from winnow.pipeline import stage


@stage
def summarise(inputs, outputs, params, log):
    """Write family -> variant -> system -> split.metric -> mean over seeds; wall-clock figures stay out."""
    import math

    from winnow.pipeline.tables import read_metrics, write_json

    summary = {}
    for path in inputs.metrics:
        rows = read_metrics([path])
        family = path.parts[2]
        keys = ["variant", "system", "split", "metric"]
        means = rows.filter(rows["step"].is_null()).group_by(keys, use_threads=False).aggregate([("value", "list")])
        for row in means.to_pylist():
            values = summary.setdefault(family, {}).setdefault(row["variant"], {}).setdefault(row["system"], {})
            values.setdefault(f"{row['split']}.{row['metric']}", []).extend(row["value_list"])
    for variants in summary.values():
        for systems in variants.values():
            for values in systems.values():
                for metric, found in values.items():
                    known = [v for v in found if v is not None and math.isfinite(v)]
                    values[metric] = math.fsum(known) / len(known) if known else None
    write_json(summary, outputs.summary)
