"""Train a prototype network: warm-up, joint training, and what follows them."""

from winnow.pipeline import stage


@stage(torch=True)
def protopnet(inputs, outputs, params, log):
    """Write the network, its history, accuracy and scores, each prototype's nearest patch, and one image's evidence."""
    import torch
    from safetensors.torch import load_file

    from winnow.models import save_model
    from winnow.models.efficientnet_lite0 import published_state
    from winnow.models.protopnet import take_trunk
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.protopnet import LossWeights, compute_fronts, fit_protopnet, outputs_of
    from winnow.train.prototype_push import evidence_table, last_layer, prototype_table, prune, push, score_table
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    settings = {name: getattr(params, name) for name in ("per_class", "channels", "similarity", "head", "add_on")}
    model = workload.build("protopnet", seed=params.seed, **settings)
    if params.weights:
        mean, deviation = (torch.from_numpy(part).float() for part in workload.standardisation())
        take_trunk(model, published_state(load_file(inputs.weights[0])), mean, deviation)
    fronts = {split: compute_fronts(model.eval(), *workload.arrays(split)) for split in ("train", "valid")}
    names = ("cluster", "separation", "orthogonality", "alignment", "threshold")
    history = fit_protopnet(
        model,
        fronts,
        weights=LossWeights(**{name: getattr(params, name) for name in names}),
        epochs=params.epochs,
        warm_epochs=params.warm_epochs,
        decay_epochs=params.decay_epochs,
        batch_size=params.batch_size,
        seed=params.seed,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    train = fronts["train"]
    if params.push:
        push(model, train)
    if params.head == "linear":
        objective = last_layer(model, outputs_of(model, train).scores, train.labels)
        log.info("last layer: objective from %.4f to %.4f", objective[0], objective[-1])
    if params.prune:
        log.info("%d of %d prototypes stay", int(prune(model, train).sum()), len(model.active))
    labels = {"system": "protopnet", "workload": params.workload, "variant": params.variant, "seed": params.seed}
    save_model(model, outputs.model, workload=params.workload)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    write_parquet(metric_rows(workload.metrics(model, "valid"), split="valid", **labels), outputs.metrics)
    write_parquet(prototype_table(model, train, workload), outputs.prototypes)
    write_parquet(evidence_table(model, fronts["valid"], workload, "valid"), outputs.evidence)
    write_parquet(score_table(model, fronts["valid"], workload, "valid"), outputs.scores)
