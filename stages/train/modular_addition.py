"""Train a transformer of one block to add modulo a number."""

from winnow.pipeline import stage


@stage(torch=True)
def modular_addition(inputs, outputs, params, log):
    """Write the trained model, its history for each step, and its metrics on held-out pairs."""
    from winnow.models import save_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.modular_addition import train_modular_addition
    from winnow.workloads.modular_addition import ModularAddition

    data = ModularAddition(params.modulus, params.share, params.seed)
    model, history = train_modular_addition(
        data,
        width=params.width,
        heads=params.heads,
        hidden=params.hidden,
        epochs=params.epochs,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        least_accuracy=params.least_accuracy,
        seed=params.seed,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    labels = {"system": "modular_addition", "workload": params.workload, "variant": params.variant, "seed": params.seed}
    save_model(model, outputs.model, workload=params.workload)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    write_parquet(metric_rows(data.metrics(model, "test"), split="test", **labels), outputs.metrics)
