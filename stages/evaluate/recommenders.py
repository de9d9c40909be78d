"""Rank all items for each user by plain recommenders and by trained ones."""

from winnow.pipeline import stage


@stage(torch=True)
def recommenders(inputs, outputs, params, log):
    """Write metrics of every recommender, the gain and ranks of every user, and items that lie near each other."""
    import numpy as np
    import pyarrow as pa

    from winnow.evaluate import recommender_study as study
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_metrics, write_parquet
    from winnow.workloads import load_workload

    workload, seed = load_workload(inputs.train.parent), params.seed
    arms = list(study.plain_arms(workload, params.factor_epochs, seed))
    models = {path.parent.parent.name: load_model(path) for path in inputs.models}
    arms += [study.trained_arm(workload, name, model) for name, model in models.items()]
    progress = Progress(log, "recommenders")
    users = workload.asked("test").users
    tables, ranks = [], {}
    for done, arm in enumerate(arms):
        labels = {"system": arm.name, "workload": params.workload, "seed": seed}
        found = ranks[arm.name] = study.ranked(arm, workload, seed)
        for split, variants in study.told_of(found, workload).items():
            for variant, values in variants.items():
                tables.append(metric_rows(values, variant=variant, split=split, **labels))
        for variant, values in study.by_user(found, users).items():
            tables.append(metric_rows(values, variant=variant, split="test", **labels))
        log.info("%s %s", arm.name, arm.setting)
        progress(done + 1, len(arms))
    counts = np.bincount(workload.events("train")["item"], minlength=workload.items + 1)
    embedding = next(iter(models.values())).embedding.weight
    near = study.nearest(embedding, counts, workload.meta.vocabulary)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(read_metrics(inputs.histories), outputs.histories)
    write_parquet(pa.table(study.rank_rows(ranks, workload)), outputs.ranks)
    write_parquet(pa.Table.from_pylist(near), outputs.nearest)
