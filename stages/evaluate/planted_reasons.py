"""Ask prototypes for their reasons where the right one is known: planted sets, a confounded one, copied prototypes."""

from winnow.pipeline import stage


@stage(torch=True)
def planted_reasons(inputs, outputs, params, log):
    """Write how often the right edit is named, misleading prototypes are flagged and copies are found."""
    import numpy as np
    import pyarrow as pa
    import torch

    from winnow.curate.visual_edits import EDITS
    from winnow.evaluate import planted_reasons as planted
    from winnow.evaluate.prototype_reasons import standardised
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.annotations import part_points

    edits, progress = tuple(EDITS), Progress(log, "planted reasons", "sets")
    sizes = {name: getattr(params, name) for name in ("side", "scenes", "judged", "epochs", "seed")}
    found = {}
    for done, name in enumerate((None, *planted.SETS)):
        found[name] = planted.reasons_of(name, params.part, half=round(params.half * params.side), **sizes)
        progress(done + 1, 1 + len(planted.SETS))
    reference, values, rows = found.pop(None).importance, {}, []
    for name, (accuracy, importance, on_part) in found.items():
        learnt = accuracy >= params.least_accuracy
        judged = on_part & learnt
        expected = "texture" if name == "confounded" else name
        values[name] = {"accuracy": accuracy, "learnt": float(learnt)} | planted.named(
            importance, reference, edits, judged, expected
        )
        if name in ("hue", "confounded"):  # the same sight, a coloured part; in one of them it is the reason
            values[name]["flagged"] = planted.flagged(importance, reference, edits, judged, "hue")
        for j, row in enumerate(standardised(importance, reference)):
            known = {"set": name, "seed": params.seed, "prototype": j, "on_part": bool(on_part[j])}
            rows += [known | {"edit": kind, "value": row[m]} for m, kind in enumerate(edits)]
    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    ends = workload.standardise(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=3))
    values["copies"] = planted.reasons_of_copies(
        model,
        torch.tensor(workload.pixels("train")).movedim(3, 1).float() / 255,
        workload.arrays("train")[1],
        part_points(workload.annotations("train")),
        lambda x: ends[0] + x * (ends[1] - ends[0]),
        half=round(params.half * workload.shape[1]),
        judged=params.judged,
        noise=params.noise,
        seed=params.seed,
    )
    labelled = {"system": "planted_reasons", "workload": params.workload, "seed": params.seed, "split": "test"}
    finite = {k: {m: v if np.isfinite(v) else None for m, v in found.items()} for k, found in values.items()}
    tables = [metric_rows(metrics, variant=name, **labelled) for name, metrics in finite.items()]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.importances)
