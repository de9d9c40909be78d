"""Train a hooked transformer of the small language of names until it passes its gates."""

from winnow.pipeline import stage


@stage(torch=True)
def names_language(inputs, outputs, params, log):
    """Write the trained model, its history for each step, and its metrics and abilities on the valid split."""
    from winnow.models import save_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.names_language import train_names_language
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model, history, abilities = train_names_language(
        workload,
        arguments=vars(params.arguments),
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        seed=params.seed,
        gated=params.gated,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    log.info("abilities: %s", abilities)
    labels = {"system": "names_language", "workload": params.workload, "variant": params.variant, "seed": params.seed}
    save_model(model, outputs.model, workload=params.workload)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    measured = workload.metrics(model, "valid") | abilities
    write_parquet(metric_rows(measured, split="valid", **labels), outputs.metrics)
