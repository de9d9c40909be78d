"""Prune a model for few of its classes by several criteria, without training and with it."""

from winnow.pipeline import stage


@stage(torch=True)
def relevance(inputs, outputs, params, log):
    """Write accuracies as units go, what each layer keeps, maps of test images, and times of the slim model."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.compress._masking import finetune
    from winnow.compress._measure import latency
    from winnow.evaluate.relevance_pruning import curve, kept_rows, maps, slim_size, tasks
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    splits = workload.arrays("train"), workload.arrays("test")
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables, kept, sizes = [], [], {}

    def measure(kind, variant, task, step, train=None):
        common = {"target": params.target, "judged_at": params.judged_at, "seed": params.seed}
        found = curve(model, task, kind, step=step, finetune=train, **common)
        tables.append(metric_rows(found.measured(params.judged_at), system=kind, variant=variant, **labels))
        kept.append(kept_rows(found, system=kind, variant=variant, seed=params.seed))
        if kind == params.criteria[0]:
            dense = dict.fromkeys(("area", "judged_accuracy"), found.accuracy[0])
            tables.append(metric_rows(dense, system="dense", variant=variant, **labels))
        return found

    def train(work, masks):
        budget = {"epochs": params.finetune_epochs, "lr": params.learning_rate}
        finetune(work, masks, workload, seed=params.seed, **budget)

    progress = Progress(log, "relevance", "curves")
    runs = list(tasks(*splits, params.classes, params.subsets, params.samples, params.seed))
    total = len(params.criteria) * (len(runs) + bool(params.finetune_epochs))
    for number, (subset, count, task) in enumerate(runs):
        for place, kind in enumerate(params.criteria):
            found = measure(kind, f"n{count}-net{params.seed}-subset{subset}", task, params.step)
            if kind == "relevance" and subset == 0 and count == params.samples[-1]:
                save_file(maps(model, found.model, task.test[0][:8], task.test[1][:8]), outputs.maps)
                small, sizes = slim_size(found.model, task.test[0][:2])
            progress(number * len(params.criteria) + place + 1, total)
    if params.finetune_epochs:
        ((_, _, task),) = tasks(*splits, len(workload.classes), 1, params.samples[-1:], params.seed)
        for place, kind in enumerate(params.criteria):
            measure(kind, f"finetuned-net{params.seed}", task, params.finetuned_step, train)
            progress(len(runs) * len(params.criteria) + place + 1, total)
    tables.append(metric_rows(sizes, system="relevance", variant="slim", **labels))
    times = {f"{name}_latency_batch{n}": latency(m, splits[1][0][:n])
             for n in (1, 128) for name, m in (("dense", model), ("slim", small))}  # fmt: skip
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(kept), outputs.kept)
    units = dict.fromkeys(times, "ms")
    write_parquet(metric_rows(times, system="relevance", variant="slim", units=units, **labels), outputs.timings)
