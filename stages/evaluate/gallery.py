"""Explain a few test images by every method of attribution, to look at the maps side by side."""

from winnow.pipeline import stage


@stage(torch=True)
def gallery(inputs, outputs, params, log):
    """Write the maps, the superpixels with their weights, what was explained, and the areas under deletion curves."""
    import pyarrow as pa
    import torch
    from safetensors.torch import save_file

    from winnow.attribution.saliency_metrics import METRICS
    from winnow.evaluate import gallery as maps_of
    from winnow.evaluate.lime_study import regions_of
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    (x, _), (probabilities, labels) = workload.arrays("test"), workload.probabilities(model, "test")
    predicted = probabilities.argmax(1)
    rows = maps_of.choose(predicted, labels, params.images, params.wrong)
    log.info("%d test images are explained, %d of them wrong", len(rows), int((predicted != labels)[rows].sum()))
    pictures = workload.pixels("test")[rows]
    ends = [workload.standardise(pictures[:1, :1, :1] * 0 + end) for end in (0, 255)]
    regions = [regions_of("slic", image, params.segments, params.seed) for image in pictures]
    target = torch.from_numpy(predicted[rows])
    scene = maps_of.Scene(model, x[rows], target, params.layer, tuple(ends), regions, params.samples, params.seed)
    maps = maps_of.explanation_maps(scene)
    tables = []
    for name, found in maps.items():
        areas = {
            metric: float(METRICS[key](model, scene.x, target, found, fill=0.0, seed=params.seed).mean())
            for metric, key in {"deletion": "DEL", "insertion": "INS"}.items()
        }
        tables.append(
            metric_rows(
                areas, system=name, workload=params.workload, variant=params.model, seed=params.seed, split="test"
            )
        )
    weights = [
        {"image": i, "region": r, "weight": w, "r2": one.r2}
        for i, one in enumerate(maps_of.lime_regions(scene))
        for r, w in enumerate(one.weight.tolist())
    ]
    ids = workload.annotations("test")["image_id"].to_numpy()[rows]
    shown = {"row": rows, "image_id": ids, "label": labels[rows], "predicted": predicted[rows]}
    shown["probability"] = probabilities[rows].max(1)
    save_file(maps | {"regions": torch.stack([torch.from_numpy(labels) for labels in regions])}, outputs.maps)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.table(shown), outputs.images)
    write_parquet(pa.Table.from_pylist(weights), outputs.regions)
