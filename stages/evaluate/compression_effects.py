"""Measure calibration and explanations of a dense model and of what each pruning criterion makes of it."""

from winnow.pipeline import stage


@stage(torch=True)
def compression_effects(inputs, outputs, params, log):
    """Write accuracy, calibration error and the measures of explanations of each model, a row each."""
    import pyarrow as pa

    from winnow.evaluate.compression_effects import Retrained, effects, examined, prototype_effects
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_metrics, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    retrained = Retrained(len(workload.classes), params.hidden, params.epochs, params.learning_rate, params.batch_size)
    progress = Progress(log, "compression_effects", "models")
    tables = []
    for done, (path, made) in enumerate(zip(inputs.models, inputs.made, strict=True)):
        model, variant = load_model(path), path.parent.parent.name
        method = "dense" if variant == params.dense else read_metrics([made])["system"][0].as_py()
        scores = workload.metrics(model, "test")
        values = {name: scores[name] for name in ("accuracy", "expected_calibration_error")}
        values |= prototype_effects(model, workload, params.half, params.threshold, params.seed)
        values |= effects(examined(model, workload, params.examples), retrained, params, params.seed)
        labels = {"workload": params.workload, "variant": variant, "seed": params.seed, "split": "test"}
        tables.append(metric_rows(values, system=method, **labels))
        progress(done + 1, len(inputs.models))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
