"""Prune a trained model to one sparsity and fine-tune what is left."""

from winnow.pipeline import stage


@stage(torch=True)
def prune(inputs, outputs, params, log):
    """Write the pruned model (kept weights only), the history of its fine-tuning and its metrics on valid."""
    from winnow.compress import compress
    from winnow.compress._measure import nonzero, summary
    from winnow.compress.quantization import round_to_int8
    from winnow.models import load_model, save_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model, masks, history = compress(
        params.method,
        load_model(inputs.model),
        workload,
        sparsity=params.sparsity,
        seed=params.seed,
        epochs=params.epochs,
        lr=params.learning_rate,
        batch_size=params.batch_size,
        gradual_steps=params.gradual_steps,
        min_keep_share=params.min_keep_share,
        group=params.group,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    scales = round_to_int8(model) if params.weight_bits == 8 else None
    log.info("kept in each layer: %s", nonzero(masks))
    metrics = workload.metrics(model, "valid") | summary(model, masks, workload.example_inputs())
    labels = {
        "system": params.method,
        "workload": params.workload,
        "variant": params.variant,
        "seed": params.seed,
    }
    save_model(model, outputs.model, workload=params.workload, masks=masks, scales=scales)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    write_parquet(metric_rows(metrics, split="valid", **labels), outputs.metrics)
