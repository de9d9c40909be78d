"""Train a model of the registry with AdamW, warm-up and a cosine."""

from winnow.pipeline import stage


@stage(torch=True)
def train_adamw(inputs, outputs, params, log):
    """Write the trained model, its history for each step and its metrics on the valid split."""
    from winnow.models import save_model
    from winnow.models.fitting import final_metrics
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.adamw import fit_adamw
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model = workload.build(params.model, seed=params.seed, **vars(params.arguments))
    history = fit_adamw(
        model,
        workload,
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        warmup=params.warmup,
        label_smoothing=params.label_smoothing,
        seed=params.seed,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    labels = {"system": "adamw", "workload": params.workload, "variant": params.variant, "seed": params.seed}
    save_model(model, outputs.model, workload=params.workload)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    write_parquet(metric_rows(final_metrics(history), split="valid", **labels), outputs.metrics)
