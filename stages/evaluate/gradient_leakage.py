"""See whether gradients stay in the block that tells the class, on images of blocks and on the theory's toy."""

from winnow.pipeline import stage

DRAWN = 4  # images in the strip of maps


@stage(torch=True)
def gradient_leakage(inputs, outputs, params, log):
    """Write each image's share of gradients in its signal block, the toy's block norms, and some maps to draw."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.attribution.gradients import logit_gradient
    from winnow.evaluate.diffroar import leakage, magnitudes, predicted
    from winnow.evaluate.leakage_theory import toy
    from winnow.evaluate.robust_arms import PLAIN, Recipe, accuracy, arms, block_split
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    runs = [("random", arm, attack) for arm, attack in arms(params).items()]
    runs += [(variant, "standard", PLAIN) for variant in params.variants]
    tables, rows, maps = [], [], {}
    progress = Progress(log, "gradient_leakage", "models")
    for done, (variant, arm, attack) in enumerate(runs):
        recipe = Recipe.of(params, len(workload.classes) if variant == "ten_classes" else 2)
        train, test = (
            block_split(recipe, workload, s, variant, params.classes, params.seed) for s in ("train", "test")
        )
        model = recipe.fit(train.x, train.y, params.seed, attack)
        gradient = logit_gradient(model, test.x, predicted(model, test.x))
        table = leakage(gradient, test.x, test.inside, params.top, params.seed)
        means = {name: table[name].to_numpy().mean() for name in table.column_names if name != "image_id"}
        means["accuracy"] = accuracy(model, test.x, test.y)
        tables.append(metric_rows(means, system=arm, variant=variant, **labels))
        for name, value in {"system": arm, "variant": variant}.items():
            table = table.append_column(name, pa.array([value] * table.num_rows))
        rows.append(table)
        maps[f"{variant}/image"], maps[f"{variant}/{arm}"] = test.x[:DRAWN].sum(1), magnitudes(gradient[:DRAWN])
        progress(done + 1, len(runs))
    found = toy(params.toy_width, params.toy_steps, params.toy_eps, params.seed)
    for (arm, variant), values in found.scores.items():
        tables.append(metric_rows(values, system=arm, variant=variant, **labels))
    write_parquet(found.norms, outputs.toy)
    write_parquet(pa.concat_tables(rows), outputs.leakage)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    save_file({name: maps[name].contiguous() for name in sorted(maps)}, outputs.maps)
