"""Train a model of what a user takes next."""

from winnow.pipeline import stage


@stage(torch=True)
def sequential_recommender(inputs, outputs, params, log):
    """Write the model of the best epoch, its history for each step and its metrics on the valid split."""
    from winnow.models import save_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.sequential_recommender import fit_recommender
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model = workload.build(params.model, seed=params.seed, **vars(params.arguments))
    history = fit_recommender(
        model,
        workload,
        loss=params.loss,
        negatives=params.negatives,
        calibration=params.calibration,
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        seed=params.seed,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    metrics = workload.metrics(model, "valid")
    log.info("valid: %s", metrics)
    told = {"workload": params.workload, "variant": params.variant, "seed": params.seed}
    labels = {"system": "sequential_recommender", **told}
    save_model(model, outputs.model, workload=params.workload)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    write_parquet(metric_rows(metrics, split="valid", **labels), outputs.metrics)
