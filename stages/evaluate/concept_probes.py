"""Explain a model by concepts of two rendered probe sets, and measure what that choice changes."""

from winnow.pipeline import stage


@stage(torch=True)
def concept_probes(inputs, outputs, params, log):
    """Write fidelity, cosines and learnability, each concept's direction, and the coefficients of explanations."""
    import numpy as np
    import pyarrow as pa
    from safetensors.numpy import save_file

    from winnow.evaluate import concept_audit, concept_features
    from winnow.evaluate.concept_probes import direction, random_directions, tcav
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.parts import CONCEPT_NAMES, probe_arrays

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    sizes, seed = (params.train, params.valid, params.test), params.seed

    def probe(name, shift):
        pixels, concepts = probe_arrays(name, sum(sizes), seed, workload.shape[1], shift)
        x = workload.standardise(pixels)
        features = concept_features.probe_features(model, x, params.layer).double().numpy()
        predicted = concept_features.predictions(model, x).argmax(dim=1).numpy()
        return concept_audit.split_probe(features, concepts, predicted, sizes), x[-params.test :]

    def rows_of(values, variant, split="test"):
        labels = {"system": "concept_probes", "workload": params.workload, "variant": variant, "seed": seed}
        finite = {name: value if np.isfinite(value) else None for name, value in values.items()}
        return metric_rows(finite, split=split, units=dict.fromkeys(finite, "share"), **labels)

    (a, shown), tables, cosines = probe("a", 0.0), [], []
    for shift in params.shifts:
        b, _ = probe("b", shift)
        concepts = concept_audit.shared_concepts(a, b, params.base_rate)
        values, rows, told = concept_audit.dataset_choice(a, b, concepts, params.draws, seed)
        tables.append(rows_of(values | {"concepts": len(concepts)}, f"shift{shift:g}"))
        cosines += [{"shift": shift, "seed": seed, "name": CONCEPT_NAMES[row["concept"]]} | row for row in rows]
        log.info("shift %g: %d concepts, cosine across / within %.2f", shift, len(concepts), values["cosine_ratio"])
    scores = workload.probabilities(model, "test")
    values, learned = concept_audit.learnability(a, concepts, told[0], *scores, seed)
    curve = concept_audit.capability(a, concepts, told[0], params.sizes)
    tables.append(rows_of(values | {"accuracy": workload.metrics(model, "test")["accuracy"]}, "learnability"))
    for row in curve:
        name = "all" if row["concepts"] == len(concepts) else str(row["concepts"])
        tables.append(rows_of({"fidelity": row["fidelity"]}, f"concepts_{name}"))
    names = {"concept": CONCEPT_NAMES, "class": workload.classes}
    learned = [row | {"seed": seed, "name": names[row["kind"]][row["number"]]} for row in learned]
    vectors = np.stack([direction(a, k, seed=seed).vector for k in concepts])
    chance = random_directions(a, concepts, params.random_concepts, 0.1, seed)
    explanations = []
    for label, row in zip(told[0].classes.tolist(), told[0].coefficients, strict=True):
        gradients = concept_features.logit_gradients(model, shown, params.layer, label).double().numpy()
        share, p = tcav(gradients, vectors, chance)
        explanations += [
            {"seed": seed, "class": workload.classes[label], "concept": CONCEPT_NAMES[k], "coefficient": row[k]}
            | {"tcav": share[i], "p": p[i]}
            for i, k in enumerate(concepts)
        ]
    save_file({CONCEPT_NAMES[k]: vectors[i] for i, k in enumerate(concepts)}, outputs.directions)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(cosines), outputs.cosines)
    write_parquet(pa.Table.from_pylist(learned), outputs.learnability)
    write_parquet(pa.Table.from_pylist(explanations), outputs.explanations)
