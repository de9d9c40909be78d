"""Fit a sparse autoencoder on the harvested activations of a language model, dense or compressed."""

from winnow.pipeline import stage


@stage(torch=True)
def fit_language_autoencoder(inputs, outputs, params, log):
    """Write the dictionary, the history of its fit, its metrics on the valid split and where its features fire."""
    from winnow.dictionaries.activations import open_store
    from winnow.dictionaries.dictionary import save
    from winnow.dictionaries.harvest import corpus_of
    from winnow.dictionaries.on_language import HeldOut, chosen, feature_table, sequences_of
    from winnow.dictionaries.on_models import sae_config
    from winnow.dictionaries.sae import fit
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    digest = file_sha256(inputs.model)
    store, held_out = open_store(inputs.activations[0], digest), open_store(inputs.held_out[0], digest)
    config = sae_config(
        params.architecture, params.k or params.penalty, params, seed=params.seed, threads=params.torch_threads
    )
    dictionary, history = fit(
        store.reading(params.seed),
        config,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    dictionary.info.update(hook=params.hook, model=params.model, workload=params.workload)
    corpus = chosen(corpus_of(load_workload(inputs.train.parent), "valid"), sequences_of(held_out))
    metrics = HeldOut(load_model(inputs.model), corpus, params.hook).judge(dictionary)
    dictionary.info["metrics"] = metrics
    labels = {"workload": params.workload, "variant": params.variant, "seed": params.seed}
    system = f"sae_{params.architecture}"
    save(dictionary, outputs.dictionary)
    write_parquet(feature_table(dictionary, held_out), outputs.features)
    write_parquet(metric_rows(history, system=system, split="train", **labels), outputs.history)
    write_parquet(metric_rows(metrics, system=system, split="valid", **labels), outputs.metrics)
