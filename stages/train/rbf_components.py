"""Train classifiers by components and by prototypes, in the space of the pixels and on learnt detectors."""

from winnow.pipeline import stage


@stage(torch=True)
def rbf_components(inputs, outputs, params, log):
    """Write the shallow models with their card, histories, and accuracy on the test split and on planted images."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_json, write_parquet
    from winnow.train.component_arms import Plan, accuracy, fit_deeply, fit_planted, fit_shallow
    from winnow.train.deep_components import DeepRecipe
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    images = {split: workload.arrays(split) for split in ("train", "valid", "test")}
    low, high = images["train"][0].min(), images["train"][0].max()
    rows = {s: (((x - low) / (high - low)).clamp(0, 1).flatten(1), y) for s, (x, y) in images.items()}
    names = ("components", "epochs", "learning_rate", "margins", "rate_factors", "robust_margin", "radius", "seed")
    own = {name: getattr(params, name) for name in names}
    plan = Plan(**own, batch=params.batch_size, classes=len(workload.classes))
    made = fit_shallow(rows["train"], rows["valid"], plan, Progress(log, params.variant, "fits"))
    metrics, history, tensors = [], [], {}

    def told(system, variant):
        return {"system": system, "workload": params.workload, "variant": variant, "seed": params.seed}

    for arm, (model, steps) in made.items():
        labels = told(*arm.split("/"))
        history.append(metric_rows(steps, split="train", **labels))
        for split in ("valid", "test"):
            metrics.append(metric_rows({"accuracy": accuracy(model, *rows[split])}, split=split, **labels))
        tensors |= {f"{arm}/{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}

    def recipe(parts):
        warm, joint, head = parts
        return DeepRecipe(warm, joint, head, params.batch_size, params.deep_learning_rate)

    deep = fit_deeply(
        images["train"], params.deep_components, len(workload.classes), recipe(params.deep_epochs), params.seed
    )
    for head, (model, steps) in deep.items():
        history.append(metric_rows(steps, split="train", **told(head, "deep")))
        metrics.append(metric_rows({"accuracy": accuracy(model, *images["test"])}, split="test", **told(head, "deep")))
    for head, value in fit_planted(params.planted_images, recipe(params.planted_epochs), params.seed).items():
        metrics.append(metric_rows({"accuracy": value}, split="test", **told(head, "absence")))
    card = {"arms": sorted(made), "components": params.components, "low": float(low), "high": float(high)}
    save_file(dict(sorted(tensors.items())), outputs.model)
    write_json(card, outputs.card)
    write_parquet(pa.concat_tables(history), outputs.history)
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
