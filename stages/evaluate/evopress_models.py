"""Make models of what the first search found, and measure them as they are read back."""

from winnow.pipeline import stage


@stage(torch=True)
def evopress_models(inputs, outputs, params, log):
    """Write the models without layers, with zeros and of few bits; bytes and losses of all, and their timings."""
    import json

    import pyarrow as pa

    from winnow.compress._measure import latency
    from winnow.compress.evopress_database import load_database
    from winnow.compress.evopress_models import save_levels, thinned
    from winnow.evaluate.evopress_study import window_losses, windows
    from winnow.models import load_model, save_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    found = {kind: tuple(arms["evopress"]) for kind, arms in json.loads(inputs.levels.read_text()).items()}
    save_model(thinned(model, found[f"depth-{100 * max(params.dropped):g}"]), outputs.depth, params.workload)
    layers = {"sparsity": (inputs.sparsity, outputs.sparsity), "bits": (inputs.bits, outputs.bits)}
    for kind, (database, path) in layers.items():
        save_levels(model, load_database(database), found[kind], path, params.workload)
    x, y = windows(workload, "test", params.judged, params.length)
    rows, timings = [], []
    for name, path in {
        "dense": inputs.model,
        **{kind: getattr(outputs, kind) for kind in ("depth", "sparsity", "bits")},
    }.items():
        made = load_model(path)
        labels = {"system": "evopress", "workload": params.workload, "variant": name, "seed": 0, "split": "test"}
        losses = window_losses(made, {}, x, y)
        rows.append(metric_rows({"bytes": path.stat().st_size, "cross_entropy": losses.mean()}, **labels))
        milliseconds = latency(made, x, repeats=5)
        speed = {"latency": milliseconds, "tokens_per_second": 1000 * x.numel() / milliseconds}
        timings.append(metric_rows(speed, units={"latency": "ms", "tokens_per_second": "tokens a second"}, **labels))
    write_parquet(pa.concat_tables(rows), outputs.metrics)
    write_parquet(pa.concat_tables(timings), outputs.timings)
