"""Train models on a fixed simplex and on trained classifiers: in sequence, replaced, and independently."""

from winnow.pipeline import stage


@stage(torch=True)
def simplex(inputs, outputs, params, log):
    """Write the models of all arms, their card, their histories and the accuracy of each on the classes it knows."""
    import pyarrow as pa
    import torch
    from safetensors.torch import save_file

    from winnow.models import build
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_json, write_parquet
    from winnow.train.simplex import Recipe
    from winnow.train.simplex_scenarios import class_order, fit_scenarios, headless, in_order
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    channels, height, width = workload.shape
    arguments = {"in_channels": channels, "height": height, "width": width, "classes": len(workload.classes)}
    arguments |= {"channels": params.channels, "hidden": params.hidden}
    names = ("optimizer", "epochs", "batch_size", "learning_rate", "weight_decay", "memory", "weight", "scale", "mask")
    recipe = Recipe(**{name: getattr(params, name) for name in names}, final_learning_rate=params.learning_rate / 100)
    order = class_order(len(workload.classes), params.seed)
    data = {s: (workload.arrays(s)[0], in_order(workload.arrays(s)[1], order)) for s in ("train", "valid")}
    arms = fit_scenarios(
        data["train"],
        lambda seed: headless(build("small_cnn", seed=seed, **arguments)),
        recipe,
        classes=params.vertices,
        tasks=params.tasks,
        replacements=dict(zip(params.replace_at, params.replace_classes, strict=True)),
        old_classes=params.old_classes,
        seed=params.seed,
        progress=Progress(log, params.variant, "arms"),
    )
    tensors, history, metrics = {}, [], []
    for arm, fitted in arms.items():
        scenario, method = arm.split("/")
        labels = {"system": method, "workload": params.workload, "variant": scenario, "seed": params.seed}
        history.append(metric_rows(fitted.history, split="train", **labels))
        x, y = data["valid"]
        for number, model in enumerate(fitted.models):
            with torch.no_grad():
                hits = model(x)[1].argmax(dim=1) == y
            known = y < fitted.classes[number]
            metrics.append(
                metric_rows([("accuracy", hits[known].double().mean(), number + 1)], split="valid", **labels)
            )
            tensors |= {f"{arm}/{number}/{name}": t.contiguous() for name, t in model.state_dict().items()}
    card = {"model": "small_cnn", "arguments": arguments, "order": order.tolist(), "seen": sum(params.tasks)}
    card["known"] = {arm: fitted.classes for arm, fitted in arms.items()}
    save_file(dict(sorted(tensors.items())), outputs.model)
    write_json(card, outputs.card)
    write_parquet(pa.concat_tables(history), outputs.history)
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
