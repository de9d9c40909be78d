"""Time every model, dense and compressed, one after another in one process."""

from winnow.pipeline import stage


@stage(torch=True)
def measure_latency(inputs, outputs, params, log):
    """Write the median milliseconds of a forward pass for each model and batch size."""
    import pyarrow as pa

    from winnow.compress._measure import latency
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    progress = Progress(log, "latency", "models")
    tables = []
    for done, path in enumerate(inputs.models):
        family, variant, seed = path.parts[-4:-1]
        model = load_model(path)
        values = {
            f"latency_batch{size}": latency(model, workload.example_inputs(size), repeats=params.latency_repeats)
            for size in params.latency_batches
        }
        labels = {"workload": params.workload, "variant": variant, "seed": int(seed.removeprefix("seed"))}
        units = dict.fromkeys(values, "ms")
        tables.append(metric_rows(values, system=family, split="test", units=units, **labels))
        progress(done + 1, len(inputs.models))
    write_parquet(pa.concat_tables(tables), outputs.timings)
