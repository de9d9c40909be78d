"""Judge dictionaries of a task's heads by what the task is about: reconstruction, edits, and what features say."""

from winnow.pipeline import stage


@stage(torch=True)
def supervised_dictionaries(inputs, outputs, params, log):
    """Write the metrics of every dictionary and of the toys, and what features of one node tell."""
    import pyarrow as pa

    from winnow.evaluate import supervised_study as study
    from winnow.evaluate import task_dictionaries as kinds
    from winnow.evaluate.attribution_features import attribution_features
    from winnow.evaluate.dictionary_toys import toys
    from winnow.evaluate.occluded_nodes import node_occlusion
    from winnow.evaluate.supervised_task import task_of
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    model, seed = load_model(inputs.model), params.seed
    fit, test = task_of("train", params.fit_prompts, seed), task_of("test", params.prompts, seed)
    scene = study.scene_of(model, fit, test, params.least_ceiling)
    queries = study.queries_of(scene)
    found = {
        system: {"all": study.told_by_supervised(scene, system)}
        | study.edits_by_supervised(scene, system)
        | study.edits_by_supervised(queries, system)
        for system in study.SYSTEMS
    }
    for part in (scene, queries):
        for system, variants in study.edit_limits(part).items():
            found.setdefault(system, {}).update(variants)
    documents = load_workload(inputs.train.parent).tokens("train")[: params.fit_prompts]
    general = kinds.general_rows(model, documents, scene.nodes, seed)
    rows = {"": scene.seen, "queries": queries.seen}
    made = {
        name: lambda of, name=name: kinds.autoencoders(rows[of], name, params, seed) for name in kinds.ARCHITECTURES
    }
    made = {f"sae_{name}": make for name, make in made.items()}
    attribution = attribution_features(scene, params, seed)
    made["sae_attribution"], made["sae_attribution_explained"] = (lambda of, i=i: attribution[i] for i in (0, 1))
    made["sae_general"] = lambda of: kinds.autoencoders(general, "topk", params, seed)
    made["random"] = lambda of: kinds.random_features(rows[of], params.width, params.k, seed)
    made["components"] = lambda of: kinds.components(rows[of], params.k)
    progress, kept = Progress(log, "dictionaries"), []
    for done, (name, make) in enumerate(made.items()):
        features = make("")
        found[name] = study.told_by_features(scene, features) | study.edits_by_features(scene, features, params.sizes)
        found[name]["nodes"] = node_occlusion(scene, features)
        if name == "sae_topk":
            kept = study.feature_rows(scene, features)
        if name in ("sae_topk", "random", "components"):
            found[name] |= study.edits_by_features(queries, make("queries"), params.sizes)
        progress(done + 1, len(made))
    found |= toys(params, seed)
    units = {"l0": "features", "specific": "features", "clear_features": "features"}
    labels = {"workload": params.workload, "seed": seed, "split": "test", "units": units}
    tables = [
        metric_rows(values, system=name, variant=variant, **labels)
        for name, variants in found.items()
        for variant, values in variants.items()
    ]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(kept), outputs.features)
