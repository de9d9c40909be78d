"""Certify models by components, attack them inside their certificates, and explain a prediction."""

from winnow.pipeline import stage

EXPLAINED = 20  # test images


@stage(torch=True)
def certified_radius(inputs, outputs, params, log):
    """Write certified accuracy and violations of each arm, the radius of each input, and explanations."""
    import json

    import pyarrow as pa
    from safetensors.torch import load_file

    from winnow.evaluate.certified_radius import certificates, component_rows, thin_predictions
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.component_arms import accuracy, shallow_model
    from winnow.workloads import load_workload
    from winnow.workloads.unit_interval import shown_by, unit_inputs

    workload, card, state = load_workload(inputs.train.parent), json.loads(inputs.card.read_text()), {}
    for name, tensor in load_file(inputs.model).items():
        arm, parameter = name.rsplit("/", 1)
        state.setdefault(arm, {})[parameter] = tensor
    x, y = unit_inputs(workload, ["test"])["test"]
    metrics, radii, explained = [], [], []
    for arm in card["arms"]:
        kind, variant = arm.split("/")
        labels = {"system": kind, "workload": params.workload, "variant": variant, "seed": params.seed}
        model = shallow_model(kind, card["components"], len(workload.classes), x.shape[1], 0)
        model.load_state_dict(state[arm])
        values = [("accuracy", accuracy(model, x, y), None)]
        if kind in ("cbc", "original"):
            values.append(("thin_predictions", thin_predictions(model, x), None))
        if kind != "original":
            found, certified = certificates(
                model, x, y, params.radii, params.attacked, params.attack_steps, params.attack_restarts, params.seed
            )
            values += certified
            radii.append(pa.table({"radius": found}).append_column("image_id", pa.array(range(len(y)), pa.int64())))
            for name, value in labels.items():
                radii[-1] = radii[-1].append_column(name, pa.array([value] * len(y)))
        if arm == "cbc/tuned":
            for image in range(min(EXPLAINED, len(y))):
                guess = int(model(x[image : image + 1]).argmax())
                told = {"image_id": image, "class": workload.classes[y[image]], "predicted": workload.classes[guess]}
                explained += [told | term for term in model.explain(x[image], guess)]
            parts = component_rows(model, workload.classes, shown_by(workload))
        metrics.append(metric_rows(values, split="test", units={"thin_predictions": "share"}, **labels))
        log.info("%s: done", arm)
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
    write_parquet(pa.concat_tables(radii), outputs.radius)
    write_parquet(pa.Table.from_pylist(explained), outputs.explanations)
    write_parquet(parts, outputs.components)
