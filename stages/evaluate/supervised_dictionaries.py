"""Judge dictionaries of a task's heads by what the task is about: reconstruction, edits, and what features say."""

from winnow.pipeline import stage


@stage(torch=True)
def supervised_dictionaries(inputs, outputs, params, log):
    """Write the metrics of every dictionary, and those of the toys."""
    import pyarrow as pa

    from winnow.evaluate import supervised_study as study
    from winnow.evaluate.attribution_features import attribution_features
    from winnow.evaluate.dictionary_toys import toys
    from winnow.evaluate.occluded_nodes import node_occlusion
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    model, seed = load_model(inputs.model), params.seed
    fit, test = study.task_of("train", params.fit_prompts, seed), study.task_of("test", params.prompts, seed)
    scene = study.scene_of(model, fit, test, params.least_ceiling)
    found = {f"supervised_{kind}": study.told_by_supervised(scene, kind) for kind in ("mean", "mse")}
    found["ceiling"] = {
        f"{name}-1": {"edit_accuracy": study.accuracy(scene, name, values)} for name, values in scene.changed.items()
    }
    documents = load_workload(inputs.train.parent).tokens("train")[: params.fit_prompts]
    general = study.general_rows(model, documents, scene.nodes, seed)
    progress = Progress(log, "dictionaries")
    made = {
        f"sae_{name}": lambda name=name: study.autoencoders(scene.seen, name, params, seed)
        for name in study.ARCHITECTURES
    }
    made["sae_attribution"] = lambda: attribution_features(scene, params, seed)
    made["sae_general"] = lambda: study.autoencoders(general, "topk", params, seed)
    made["random"] = lambda: study.random_features(scene.seen, params.width, params.k, seed)
    made["components"] = lambda: study.components(scene.seen, params.k)
    for done, (name, make) in enumerate(made.items()):
        features = make()
        found[name] = study.told_by_features(scene, features, params.sizes)
        found[name]["nodes"] = node_occlusion(scene, features)
        progress(done + 1, len(made))
    found |= toys(params, seed)
    units = {"l0": "features", "specific": "features"}
    labels = {"workload": params.workload, "seed": seed, "split": "test", "units": units}
    tables = [
        metric_rows(values, system=name, variant=variant, **labels)
        for name, variants in found.items()
        for variant, values in variants.items()
    ]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
