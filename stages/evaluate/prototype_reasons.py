"""Say of every prototype of several networks why it looks like the patches it is found in."""

from winnow.pipeline import stage


@stage(torch=True)
def prototype_reasons(inputs, outputs, params, log):
    """Write importances on train and test, how these agree, what is told of each prototype, and its patch edited."""
    import pyarrow as pa
    import torch

    from winnow.curate.visual_edits import EDITS, edit
    from winnow.evaluate import prototype_explanations as told
    from winnow.evaluate.reason_study import metrics_of, prepared, reasons_of_network
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.annotations import part_points

    workload, edits = load_workload(inputs.train.parent), tuple(EDITS)
    images = {s: torch.tensor(workload.pixels(s)).movedim(3, 1).float() / 255 for s in ("train", "test")}
    edited = {s: {kind: edit(x, kind) for kind in edits} for s, x in images.items()}
    labels, points = workload.arrays("test")[1], part_points(workload.annotations("train"))
    tables, rows, entries, cards, progress = [], [], [], [], Progress(log, "prototype reasons", "networks")
    for done, (path, table) in enumerate(zip(inputs.models, inputs.prototypes, strict=True)):
        model, known = load_model(path), {"variant": path.parts[-3], "seed": params.seed}
        found = reasons_of_network(model, images, edited, prepared(workload), labels, seed=params.seed)
        patches = told.patches_of(read_parquet(table, None))
        importances = told.Importances(
            found.train,
            found.error,
            told.importances_in_patch(found.local, patches),
            told.sight(images["train"], edited["train"], patches),
        )
        of, parts = model.class_of().tolist(), told.parts_of(points, patches)
        vectors = model.prototypes.detach().numpy()
        explained = told.explanations(importances, edits, patches, of, vectors, parts)
        explained = [known | entry | {"class": workload.classes[entry["class"]]} for entry in explained]
        values = metrics_of(found, edits) | told.flag_shares(explained)
        labelled = {"system": "prototype_reasons", "workload": params.workload, "split": "test", **known}
        tables.append(metric_rows(values, **labelled))
        entries += explained
        cards += [known | row for row in told.cards(images["train"], edited["train"], patches)]
        rows += [known | row for row in told.rows_of(explained, found.test, edits)]
        progress(done + 1, len(inputs.models))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.importances)
    write_parquet(pa.Table.from_pylist(cards), outputs.cards)
    write_json(entries, outputs.explanations)
