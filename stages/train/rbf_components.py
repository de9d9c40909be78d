"""Train classifiers by components and by prototypes, in the space of the inputs and, on images, on learnt detectors."""

from winnow.pipeline import stage


@stage(torch=True)
def rbf_components(inputs, outputs, params, log):
    """Write the shallow models with their card, histories, and accuracy on the test split and on planted images."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_json, write_parquet
    from winnow.train.component_arms import Plan, accuracy, fit_shallow, learnt_detectors
    from winnow.workloads import load_workload
    from winnow.workloads.unit_interval import unit_inputs

    workload = load_workload(inputs.train.parent)
    rows = unit_inputs(workload, ["train", "valid", "test"])
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

    if workload.kind == "images":
        heads = learnt_detectors(workload.arrays("train"), workload.arrays("test"), len(workload.classes), params)
        for head, variant, value, steps in heads:
            metrics.append(metric_rows({"accuracy": value}, split="test", **told(head, variant)))
            history.append(metric_rows(steps, split="train", **told(head, variant)))
    card = {"arms": sorted(made), "components": params.components}
    save_file(dict(sorted(tensors.items())), outputs.model)
    write_json(card, outputs.card)
    write_parquet(pa.concat_tables(history), outputs.history)
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
