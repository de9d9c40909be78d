"""Say what latents of a recommender answer to, how far that can be relied on, and what edits of them do."""

from winnow.pipeline import stage


@stage(torch=True)
def rec_sae(inputs, outputs, params, log):
    """Write the concepts, their confidence on new users, the edits, cards of some latents, and metrics."""
    import numpy as np
    import pyarrow as pa

    from winnow.dictionaries.dictionary import load
    from winnow.evaluate import rec_sae_study as study
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.workloads import load_workload

    workload, seed = load_workload(inputs.train.parent), params.seed
    items, users = read_parquet(inputs.catalogue), read_parquet(inputs.users)
    scene = study.scene_of(workload, load_model(inputs.model), load(inputs.dictionary), items, users, params, seed)
    tables, rules, judged = [], [], []

    def tell(values, system, variant, split="test"):
        labels = {"system": system, "workload": params.workload, "variant": variant, "seed": seed, "split": split}
        tables.append(metric_rows(values, **labels))

    ranked = study.rankings(scene)
    for name, found in ranked.items():
        tell(found["metrics"], "rec_sae", name)
        tell(found["users"], "rec_sae", name)
    tell(study.ranking_change(ranked, seed), "rec_sae", "change")
    told = study.concepts_of(scene, seed, params.top)
    f1 = {name: np.array(by_split["test"]["f1"].to_pylist()) for name, (_, by_split) in told.items()}
    for name, (known, by_split) in told.items():
        rules.append(study.labelled(known, system=name))
        for split, table in by_split.items():
            judged.append(study.labelled(table, system=name, split=split))
            tell(study.summary(known, table), name, "concepts", split)
        if name != "rec_sae":
            tell(study.gain(f1["rec_sae"], f1[name], seed), "rec_sae", f"over_{name}")
    known, by_split = told["rec_sae"]
    log.info("confident latents: %s", study.confident_kinds(known, by_split["test"]))
    by_user = study.edits(scene, known, by_split["valid"], seed, Progress(log, "rec_sae", "latents"))
    edits = study.edit_means(by_user)
    for name in study.EDITS:
        tell(study.edit_summary(edits, name, seed), "rec_sae", name)
    write_parquet(pa.concat_tables(rules), outputs.concepts)
    write_parquet(pa.concat_tables(judged), outputs.confidence)
    write_parquet(by_user, outputs.ablation)
    write_parquet(edits, outputs.edits)
    write_parquet(study.cards(scene, known, by_split["test"], edits), outputs.cards)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
