"""Prune a trained model on two levels and by rivals, and deliver pruned models as they are run."""

from winnow.pipeline import stage


@stage(torch=True)
def bilevel(inputs, outputs, params, log):
    """Write accuracy and cost of every arm, and bytes and times of slim, ONNX and eight-bit forms of groups."""
    import tempfile
    import time
    from pathlib import Path

    import pyarrow as pa

    from winnow.compress._measure import latency, summary
    from winnow.evaluate.bilevel_arms import arms, delivered
    from winnow.models import load_model
    from winnow.pipeline.names import percent
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    dense = workload.metrics(model, "test")
    tables, timings = [metric_rows(dense, system="dense", variant=params.variant, **labels)], []
    found = {group: arms(model, workload, group, params, params.seed) for group in params.groups}
    points = [(g, keep, arm) for g in params.groups for keep in params.keep for arm in found[g]]
    points = [p for p in points if p[2] != "imp" or p[1] in params.rounds_at]
    progress = Progress(log, params.variant, "prunings")
    for done, (group, keep, arm) in enumerate(points):
        names = {"system": arm, "variant": f"{group}-{percent(1 - keep)}", **labels}
        start = time.process_time()
        pruned = found[group][arm](keep)
        times = {"cpu_seconds": time.process_time() - start}
        units = {"cpu_seconds": "s", "examples": "examples"}
        metrics = workload.metrics(pruned.model, "test") | summary(
            pruned.model, pruned.masks, workload.example_inputs()
        )
        metrics |= {"examples": pruned.examples}
        if group != "weight" and arm in ("bilevel", "magnitude_twice") and keep == min(params.keep):
            with tempfile.TemporaryDirectory() as folder:
                forms = delivered(pruned.model, workload, Path(folder))
            metrics |= forms.sizes | {"int8_accuracy": workload.metrics(forms.int8, "test")["accuracy"]}
            runs = {"": pruned.model, "slim_": forms.slim, "onnx_": forms.onnx, "int8_": forms.int8}
            for size in (1, 128):
                times |= {f"{n}latency_batch{size}": latency(m, workload.example_inputs(size)) for n, m in runs.items()}
        tables.append(metric_rows(metrics, units=units, **names))
        overlaps = [row for row in pruned.history if row[0] == "mask_overlap"]
        tables.append(metric_rows(overlaps, units={"mask_overlap": "share"}, **names))
        timings.append(metric_rows(times, units=dict.fromkeys(times, "ms") | units, **names))
        progress(done + 1, len(points))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(timings), outputs.timings)
