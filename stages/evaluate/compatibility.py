"""Search galleries that old models indexed with the queries of new ones."""

from winnow.pipeline import stage

DRAWN = 40  # images of each class in the picture of the plane


@stage(torch=True)
def compatibility(inputs, outputs, params, log):
    """Write compatibility matrices, scores of each arm, and the features of models on a simplex that can be drawn."""
    import json

    import pyarrow as pa
    import torch
    from safetensors.torch import load_file

    from winnow.evaluate.compatibility import scores
    from winnow.models import build
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.simplex_networks import load_embedding
    from winnow.train.simplex_scenarios import headless, in_order
    from winnow.workloads import load_workload

    workload, card, tensors = load_workload(inputs.train.parent), json.loads(inputs.card.read_text()), {}
    for name, tensor in load_file(inputs.model).items():
        arm, number, parameter = name.rsplit("/", 2)
        tensors.setdefault((arm, int(number)), {})[parameter] = tensor
    order, seen = card["order"], card["seen"]
    images = {s: (workload.arrays(s)[0], in_order(workload.arrays(s)[1], order)) for s in ("valid", "test")}
    tables, matrices, drawn = [], [], []
    for arm, known in card["known"].items():
        scenario, method = arm.split("/")
        backbone, width = headless(build(card["model"], **card["arguments"]))
        found = {s: [] for s in images}
        for number in range(len(known)):
            model = load_embedding(backbone, width, tensors[arm, number])
            with torch.no_grad():
                for split, (x, _) in images.items():
                    found[split].append(torch.cat([model.features(part) for part in x.split(512)]).numpy())
        labels = {"system": method, "workload": params.workload, "variant": scenario, "seed": params.seed}
        if scenario == "plane":
            for model, z in zip(("old", "new"), found["valid"], strict=True):
                for label in range(z.shape[1] + 1):
                    rows = z[(images["valid"][1] == label).numpy()][:DRAWN].tolist()
                    drawn += [
                        labels | {"model": model, "class": workload.classes[order[label]], "x": x, "y": y}
                        for x, y in rows
                    ]
            continue
        y = {split: labels_of.numpy() for split, (_, labels_of) in images.items()}
        for split, low, high in (("open", seen, len(order)), ("seen", 0, known[0])):
            rows = {s: (y[s] >= low) & (y[s] < high) for s in y}
            chosen = [[z[rows[s]] for z in found[s]] for s in ("test", "valid")]
            values, cells = scores(*chosen, y["test"][rows["test"]], y["valid"][rows["valid"]])
            tables.append(metric_rows(values, split=split, units={name: "share" for name, _, _ in values}, **labels))
            matrices += [labels | {"split": split} | cell for cell in cells]
        log.info("%s: searched", arm)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(matrices), outputs.matrix)
    write_parquet(pa.Table.from_pylist(drawn), outputs.plane)
