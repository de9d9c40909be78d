"""Mask images by attributions, retrain on what is left, and compare the first pixels with the last."""

from winnow.pipeline import stage


@stage(torch=True)
def diffroar(inputs, outputs, params, log):
    """Write the accuracy of every retrained model, and DiffROAR of each model, scheme and share of pixels."""
    import pyarrow as pa

    from winnow.evaluate.diffroar import diffroar, means, schemes
    from winnow.evaluate.robust_arms import Recipe, accuracy, arms, attacked_accuracy
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    recipe = Recipe.of(params, len(workload.classes))
    train, test = (recipe.first_images(workload, split) for split in ("train", "test"))
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    runs = [("logit_gradient", "predicted", params.fractions)]
    runs += [(name, "predicted", params.other_fractions) for name in params.schemes]
    # Explaining the true label of the test images leaks it into their masks; how much, is part of the report.
    runs += [("logit_gradient", "label", params.other_fractions)]
    jobs = [(arm, *run) for arm in arms(params) for run in runs]
    jobs += [("standard", "random", "predicted", params.fractions)]  # which looks at no model
    attributes = schemes(params.seed, params.steps, params.samples)
    tables, rows = [], []
    progress = Progress(log, "diffroar", "attributions")
    models = {arm: recipe.fit(*train, params.seed, attack) for arm, attack in arms(params).items()}
    for arm, model in models.items():
        clean = {"accuracy": accuracy(model, *test), "attacked_accuracy": attacked_accuracy(model, *test, params)}
        tables.append(metric_rows(clean, system="explained", variant=arm, **labels))
    seeds = range(1000, 1000 + params.retrainings)  # apart from those of the models explained
    for done, (arm, scheme, target, fractions) in enumerate(jobs):
        explained = {params.seed: models[arm]}
        table = diffroar(explained, recipe.fit, attributes[scheme], train, test, fractions, seeds, target)
        system = scheme if target == "predicted" else f"{scheme}_label"
        for fraction, values in means(table).items():
            tables.append(metric_rows(values, system=system, variant=f"{arm}-k{fraction:g}", **labels))
        for name, value in {"model": arm, "system": system}.items():
            table = table.append_column(name, pa.array([value] * table.num_rows))
        rows.append(table)
        progress(done + 1, len(jobs))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(rows), outputs.diffroar)
