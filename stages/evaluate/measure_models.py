"""Measure every model of a workload, dense and compressed, on the test split."""

from winnow.pipeline import stage


@stage(torch=True)
def measure_models(inputs, outputs, params, log):
    """Write scores, calibration, bytes on disk and operations of each model, and its reliability bins.

    Of compressed models also slim_parameters and slim_flops: what is left when dead units are removed and dense
    kernels compute the rest.
    """
    import pyarrow as pa
    import torch

    from winnow.compress._masking import prunable_weights
    from winnow.compress._measure import file_bytes, flops, summary
    from winnow.compress._slimming import slim
    from winnow.evaluate.calibration import reliability_table
    from winnow.models import load_masks, load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    progress = Progress(log, "measure", "models")
    tables, bins = [], []
    for done, path in enumerate(inputs.models):
        family, variant, seed = path.parts[-4:-1]
        model, masks = load_model(path), load_masks(path)
        masks = masks or {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable_weights(model).items()}
        labels = {"workload": params.workload, "variant": variant, "seed": int(seed.removeprefix("seed"))}
        metrics = {
            **workload.metrics(model, "test"),
            **summary(model, masks, workload.example_inputs()),
            "bytes": file_bytes(path),
            "parameters": sum(p.numel() for p in model.parameters()),
        }
        if family == "compress" and workload.task != "language":
            slimmed = slim(model, None, workload.example_inputs())
            metrics["slim_parameters"] = sum(p.numel() for p in slimmed.parameters())
            metrics["slim_flops"] = flops(slimmed, {}, workload.example_inputs())["dense"]
        tables.append(metric_rows(metrics, system=family, split="test", **labels))
        progress(done + 1, len(inputs.models))
        if workload.task != "classification":  # no probabilities of classes, so no calibration of them
            continue
        probabilities, y = workload.probabilities(model, "test")
        table = reliability_table(probabilities, y, bins=params.calibration_bins)
        for name, value in {"variant": variant, "seed": labels["seed"]}.items():
            table = table.append_column(name, pa.array([value] * table.num_rows))
        bins.append(table)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(bins) if bins else pa.table({"variant": []}), outputs.reliability)
