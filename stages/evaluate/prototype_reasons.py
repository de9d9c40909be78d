"""Say of every prototype of several networks why it looks like the patches it is found in."""

from winnow.pipeline import stage


@stage(torch=True)
def prototype_reasons(inputs, outputs, params, log):
    """Write importances on train and test, a sentence for each prototype, and how far the two splits agree."""
    import numpy as np
    import pyarrow as pa
    import torch

    from winnow.curate.visual_edits import EDITS, edit
    from winnow.evaluate import prototype_reasons as reasons
    from winnow.evaluate.concept_features import predictions
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, edits = load_workload(inputs.train.parent), tuple(EDITS)
    ends = workload.standardise(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(workload.shape[0], axis=3))

    def prepare(x):
        return ends[0] + x * (ends[1] - ends[0])

    images = {s: torch.tensor(workload.pixels(s)).movedim(3, 1).float() / 255 for s in ("train", "test")}
    edited = {s: {kind: edit(x, kind) for kind in edits} for s, x in images.items()}
    log.info("edited %d images", sum(map(len, images.values())))
    labels_of, tables, rows = workload.arrays("test")[1], [], []
    for path in inputs.models:
        model, name, found = load_model(path), path.parts[-3], {}
        for split, x in images.items():
            local = reasons.local_importance(model, x, edits, prepare=prepare, edited=edited[split])
            found[split] = reasons.global_importance(local, seed=params.seed)
        labels = {"system": "prototype_reasons", "workload": params.workload, "variant": name, "seed": params.seed}
        (train, error), (test, _) = found["train"], found["test"]
        for result in reasons.agreement(train, test, edits):
            values = {"correlation": result.correlation, "gap": result.gap}
            values |= {"equivalence_p": result.equivalence_p, "welch_p": result.welch_p}
            values = {f"{key}_{result.edit}": v if np.isfinite(v) else None for key, v in values.items()}
            tables.append(metric_rows(values, split="test", **labels))
        seen = {None: images["test"], **edited["test"]}
        right = {k: (predictions(model, prepare(x)).argmax(dim=1) == labels_of).double() for k, x in seen.items()}
        drops = [float((right[None] - right[kind]).mean()) for kind in edits]
        values = {"accuracy": float(right[None].mean()), "faithfulness": reasons.faithfulness(test, drops)}
        values |= {f"accuracy_drop_{k}": drop for k, drop in zip(edits, drops, strict=True)}
        values = {key: v if np.isfinite(v) else None for key, v in values.items()}
        tables.append(metric_rows(values, split="test", **labels))
        ranks = reasons.percentiles(train)
        for j, label in enumerate(model.class_of().tolist()):
            known = {"variant": name, "seed": params.seed, "prototype": j, "class": workload.classes[label]}
            known["sentence"] = reasons.describe(train[j], train, edits)
            rows += [
                known
                | {"edit": kind, "train": train[j, m], "test": test[j, m]}
                | {"error": error[j, m], "percentile": ranks[j, m]}
                for m, kind in enumerate(edits)
            ]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.importances)
