"""Explain a model by concepts of two rendered probe sets, and measure what that choice changes."""

from winnow.pipeline import stage


@stage(torch=True)
def concept_probes(inputs, outputs, params, log):
    """Write fidelity, cosines and learnability, each concept's direction, and what each explainer says."""
    from functools import partial

    import numpy as np
    import pyarrow as pa
    from safetensors.numpy import save_file
    from safetensors.torch import load_file

    from winnow.evaluate import concept_audit, concept_explainers
    from winnow.evaluate import concept_features as features
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.parts import CONCEPT_NAMES

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    sizes, seed = (params.train, params.valid, params.test), params.seed
    draw = partial(features.drawn_probe, workload, model, params.layer, sizes, seed)

    def rows_of(values, variant):
        labels = {"system": "concept_probes", "workload": params.workload, "variant": variant, "seed": seed}
        finite = {name: value if np.isfinite(value) else None for name, value in values.items()}
        return metric_rows(finite, split="test", units=dict.fromkeys(finite, "share"), **labels)

    (a, images, pixels, masks), tables, cosines, learned = draw("a", 0.0, params.dissected), [], [], []
    for shift in params.shifts:
        b = draw("b", shift).probe
        concepts = concept_audit.shared_concepts(a, b, params.base_rate)
        values, rows, told = concept_audit.dataset_choice(a, b, concepts, params.draws, seed)
        tables.append(rows_of(values | {"concepts": len(concepts)}, f"shift{shift:g}"))
        cosines += [{"shift": shift, "name": CONCEPT_NAMES[row["concept"]]} | row for row in rows]
    scored, names = workload.probabilities(model, "test"), {"concept": CONCEPT_NAMES, "class": workload.classes}
    probes = {"learnability_own" if params.weights else "learnability": a}
    if params.weights:
        probes["learnability"] = features.seen_by_published(a, load_file(inputs.weights[0]), pixels)
    for variant, seen in probes.items():
        values, rows = concept_audit.learnability(seen, concepts, told[0], *scored, seed)
        tables.append(rows_of(values | {"accuracy": workload.metrics(model, "test")["accuracy"]}, variant))
        learned += [row | {"variant": variant, "name": names[row["kind"]][row["number"]]} for row in rows]
    cut = concept_audit.capability(a, concepts, told[0], params.sizes)
    tables += [rows_of({"fidelity": fidelity}, f"concepts_{name}") for name, fidelity in cut.items()]
    at = (model, images[-params.test :], params.layer)
    gradients = {c: features.logit_gradients(*at, c).double().numpy() for c in told[0].classes}
    explained = (a, told[0], concepts, CONCEPT_NAMES, gradients, params.random_concepts, seed)
    vectors, classes = concept_explainers.explained_classes(*explained)
    maps = features.layer_maps(model, images[-params.dissected :], params.layer).numpy()
    units = concept_explainers.explained_units(maps, masks, CONCEPT_NAMES)
    tables.append(rows_of(concept_explainers.summary(classes, units), "explainers"))
    classes = [row | {"class": workload.classes[row["class"]]} for row in classes]
    save_file({CONCEPT_NAMES[k]: vectors[i] for i, k in enumerate(concepts)}, outputs.directions)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    for name, rows in {"cosines": cosines, "learnability": learned, "explanations": classes, "units": units}.items():
        write_parquet(pa.Table.from_pylist([{"seed": seed} | row for row in rows]), getattr(outputs, name))
