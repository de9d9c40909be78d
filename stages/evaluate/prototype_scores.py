"""Judge the prototypes of several networks by part annotations, beside other heads and controls."""

from winnow.pipeline import stage


@stage(torch=True)
def prototype_scores(inputs, outputs, params, log):
    """Write scores, nulls and companions of each network, a row for each prototype, the curve over windows, strips."""
    import pyarrow as pa

    from winnow.evaluate.prototype_arms import GradCamMaps, arms_of, front_of, shared_fronts
    from winnow.evaluate.prototype_comparison import JudgedImages, compare
    from winnow.evaluate.prototype_views import views
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.deep_components import DeepRecipe
    from winnow.workloads import load_workload
    from winnow.workloads.annotations import part_points

    workload = load_workload(inputs.train.parent)
    (train, known), (x, labels) = workload.arrays("train"), workload.arrays("test")
    absent = [name for label, name in enumerate(workload.classes) if not (labels == label).any()]
    if absent:
        log.warning("no test image of %s: prototypes of these classes are left out", ", ".join(absent))
    side = max(workload.shape[1:])
    halves = sorted({max(1, round(h * side)) for h in params.halves})
    half, narrow = round(params.half * side), round(params.narrow * side)
    windows = {"half": half, "narrow": narrow, "halves": halves, "threshold": params.threshold}
    networks = {path.parts[-3]: load_model(path) for path in inputs.models}
    (middle,) = shared_fronts(list(networks.values()), train)
    arms = arms_of(networks, middle, known, DeepRecipe(*params.epochs, shift=1), params.seed)
    plain = GradCamMaps(load_model(inputs.model), params.layer, len(workload.classes))
    first, pixels = next(iter(networks.values())), workload.pixels("test")
    seen = views(x, pixels, workload.standardise)
    images = JudgedImages(labels, part_points(workload.annotations("test")), pixels, seen, front_of(first))
    found = compare(
        arms | {"grad-cam": ("grad_cam", plain)},
        images,
        windows | {"size": workload.shape[1:]},
        params.seed,
        Progress(log, "prototype scores", "networks"),
    )
    labelled = {"workload": params.workload, "split": "test", "seed": params.seed}
    rows = [
        metric_rows(values, system=system, variant=name, **labelled) for name, (system, values) in found.metrics.items()
    ]
    rows.append(metric_rows(found.related, system="prototype_scores", variant="all", **labelled))
    write_parquet(pa.concat_tables(rows), outputs.metrics)
    write_parquet(found.prototypes, outputs.prototypes)
    write_parquet(found.curve, outputs.curve)
    write_parquet(pa.Table.from_pylist(found.strips), outputs.strips)
