"""Fit a sparse autoencoder on what a recommender knows of its users."""

from winnow.pipeline import stage


@stage(torch=True)
def rec_sae_dictionary(inputs, outputs, params, log):
    """Write the dictionary, its fit's history, what it leaves of states and their ranking, where features fire."""
    import torch

    from winnow.dictionaries.activations import open_store
    from winnow.dictionaries.dictionary import save
    from winnow.dictionaries.metrics import evaluate
    from winnow.dictionaries.on_language import feature_table
    from winnow.dictionaries.on_models import sae_config
    from winnow.dictionaries.rec_sae import fit_published, ranking_of
    from winnow.dictionaries.sae import fit
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    digest = file_sha256(inputs.model)
    store, held_out = open_store(inputs.activations[0], digest), open_store(inputs.held_out[0], digest)
    workload, model, progress = (
        load_workload(inputs.train.parent),
        load_model(inputs.model),
        Progress(log, params.variant),
    )
    judge = ranking_of(workload, model, "valid")
    if params.aux == "published":
        dictionary, history = fit_published(
            torch.cat(list(store.pieces())),
            width=params.width,
            k=params.k,
            epochs=max(1, round(params.steps * params.batch_size / len(store))),
            batch_size=params.batch_size,
            learning_rate=params.learning_rate,
            seed=params.seed,
            judge=judge,
            progress=progress,
        )
    else:
        sparsity = params.k or params.penalty
        config = sae_config(params.architecture, sparsity, params, seed=params.seed, threads=params.torch_threads)
        checkpoint = params.resume_folder / "checkpoint.safetensors"
        dictionary, history = fit(store.reading(params.seed), config, checkpoint=checkpoint, progress=progress)
    dictionary.info.update(hook=params.hook, model=params.model, workload=params.workload)
    metrics = {**evaluate(dictionary, held_out.pieces()).metrics, "ndcg10": judge(dictionary)}
    dictionary.info["metrics"] = metrics
    log.info("valid: %s", metrics)
    labels = {"system": "rec_sae", "workload": params.workload, "variant": params.variant, "seed": params.seed}
    save(dictionary, outputs.dictionary)
    write_parquet(feature_table(dictionary, held_out), outputs.features)
    write_parquet(metric_rows(history, split="train", **labels), outputs.history)
    write_parquet(metric_rows(metrics, split="valid", **labels), outputs.metrics)
