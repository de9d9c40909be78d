"""Mask images by attributions, retrain on what is left, and compare the first pixels with the last."""

from winnow.pipeline import stage


@stage(torch=True)
def diffroar(inputs, outputs, params, log):
    """Write the accuracy of every retrained model, and DiffROAR of each model, scheme and share of pixels."""
    import pyarrow as pa

    from winnow.evaluate.diffroar import differences, diffroar, schemes
    from winnow.evaluate.robust_arms import Recipe, accuracy, arms, attacked_accuracy
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    recipe = Recipe.of(params, len(workload.classes))
    train, test = (recipe.first_images(workload, split) for split in ("train", "test"))
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    main = [(name, "predicted", params.fractions) for name in ("logit_gradient", "random")]
    other = [(name, "predicted", params.other_fractions) for name in params.schemes]
    # Explaining the true label of the test images leaks it into their masks; how much, is part of the report.
    runs = [*main, *other, ("logit_gradient", "label", params.other_fractions)]
    attributes = schemes(params.seed, params.steps, params.samples)
    tables, rows = [], []
    progress = Progress(log, "diffroar", "attributions")
    for done, (arm, attack) in enumerate(arms(params).items()):
        model = recipe.fit(*train, params.seed, attack)
        clean = {"accuracy": accuracy(model, *test), "attacked_accuracy": attacked_accuracy(model, *test, params)}
        tables.append(metric_rows(clean, system="explained", variant=arm, **labels))
        for number, (scheme, target, fractions) in enumerate(runs):
            seeds = range(1000, 1000 + params.retrainings)
            table = diffroar(
                {params.seed: model}, recipe.fit, attributes[scheme], train, test, fractions, seeds, target
            )
            system = scheme if target == "predicted" else f"{scheme}_label"
            for name, value in {"model": arm, "system": system}.items():
                table = table.append_column(name, pa.array([value] * table.num_rows))
            rows.append(table)
            means = differences(table).group_by("fraction").aggregate([("diffroar", "mean")]).to_pylist()
            kept = table.group_by(["fraction", "keep"]).aggregate([("accuracy", "mean")]).to_pylist()
            for mean in means:
                found = {f"{k['keep']}_accuracy": k["accuracy_mean"] for k in kept if k["fraction"] == mean["fraction"]}
                variant = f"{arm}-k{mean['fraction']:g}"
                values = {"diffroar": mean["diffroar_mean"], **found}
                tables.append(metric_rows(values, system=system, variant=variant, **labels))
            progress(done * len(runs) + number + 1, len(arms(params)) * len(runs))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(rows), outputs.diffroar)
