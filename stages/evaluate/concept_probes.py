"""Explain a model by concepts of two rendered probe sets, and measure what that choice changes."""

from winnow.pipeline import stage


@stage(torch=True)
def concept_probes(inputs, outputs, params, log):
    """Write fidelity, cosines and learnability, each concept's direction, and the what each explainer says."""
    import numpy as np
    import pyarrow as pa
    from safetensors.numpy import save_file

    from winnow.evaluate import concept_audit
    from winnow.evaluate import concept_explainers as explainers
    from winnow.evaluate import concept_features as features
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.parts import CONCEPT_NAMES, probe_arrays

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    sizes, seed = (params.train, params.valid, params.test), params.seed

    def probe(name, shift, masked=0):
        pixels, concepts, masks = probe_arrays(name, sum(sizes), seed, workload.shape[1], shift, masked)
        x = workload.standardise(pixels)
        found = features.probe_features(model, x, params.layer).double().numpy()
        predicted = features.predictions(model, x).argmax(dim=1).numpy()
        return concept_audit.split_probe(found, concepts, predicted, sizes), x[-params.test :], masks

    def rows_of(values, variant, split="test"):
        labels = {"system": "concept_probes", "workload": params.workload, "variant": variant, "seed": seed}
        finite = {name: value if np.isfinite(value) else None for name, value in values.items()}
        return metric_rows(finite, split=split, units=dict.fromkeys(finite, "share"), **labels)

    (a, shown, masks), tables, cosines = probe("a", 0.0, params.dissected), [], []
    for shift in params.shifts:
        b = probe("b", shift)[0]
        concepts = concept_audit.shared_concepts(a, b, params.base_rate)
        values, rows, told = concept_audit.dataset_choice(a, b, concepts, params.draws, seed)
        tables.append(rows_of(values | {"concepts": len(concepts)}, f"shift{shift:g}"))
        cosines += [{"shift": shift, "name": CONCEPT_NAMES[row["concept"]]} | row for row in rows]
        log.info("shift %g: %d concepts, cosine across / within %.2f", shift, len(concepts), values["cosine_ratio"])
    scored = workload.probabilities(model, "test")
    values, learned = concept_audit.learnability(a, concepts, told[0], *scored, seed)
    tables.append(rows_of(values | {"accuracy": workload.metrics(model, "test")["accuracy"]}, "learnability"))
    for name, fidelity in concept_audit.capability(a, concepts, told[0], params.sizes).items():
        tables.append(rows_of({"fidelity": fidelity}, f"concepts_{name}"))
    names = {"concept": CONCEPT_NAMES, "class": workload.classes}
    learned = [row | {"name": names[row["kind"]][row["number"]]} for row in learned]
    gradients = {c: features.logit_gradients(model, shown, params.layer, c).double().numpy() for c in told[0].classes}
    explained = (a, told[0], concepts, CONCEPT_NAMES, gradients, params.random_concepts, seed)
    vectors, classes = explainers.explained_classes(*explained)
    maps = features.layer_maps(model, shown[-params.dissected :], params.layer).numpy()
    units = explainers.explained_units(maps, masks, CONCEPT_NAMES)
    tables.append(rows_of(explainers.summary(classes, units), "explainers"))
    classes = [row | {"class": workload.classes[row["class"]]} for row in classes]
    save_file({CONCEPT_NAMES[k]: vectors[i] for i, k in enumerate(concepts)}, outputs.directions)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    for name, rows in {"cosines": cosines, "learnability": learned, "explanations": classes, "units": units}.items():
        write_parquet(pa.Table.from_pylist([{"seed": seed} | row for row in rows]), getattr(outputs, name))
