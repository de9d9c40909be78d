"""Fit a sparse autoencoder on one hook point of a model, dense or compressed."""

from winnow.pipeline import stage


@stage(torch=True)
def fit_sparse_autoencoder(inputs, outputs, params, log):
    """Write the dictionary, the history of its fit and its metrics on the valid split."""
    from winnow.dictionaries.dictionary import save
    from winnow.dictionaries.on_models import evaluate_dictionary, sae_config
    from winnow.dictionaries.sae import fit
    from winnow.models import load_model
    from winnow.models.hooks import capture_split
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model = load_model(inputs.model)
    sparsity = params.k or params.penalty
    config = sae_config(params.architecture, sparsity, params, seed=params.seed, threads=params.torch_threads)
    dictionary, history = fit(
        capture_split(model, workload, "train", params.hook),
        config,
        checkpoint=params.resume_folder / "checkpoint.safetensors",
        progress=Progress(log, params.variant),
    )
    dictionary.info.update(hook=params.hook, model=params.model, workload=params.workload)
    metrics = evaluate_dictionary(dictionary, model, workload, "valid", params.hook)
    labels = {"workload": params.workload, "variant": params.variant, "seed": params.seed}
    system = f"sae_{params.architecture}"
    save(dictionary, outputs.dictionary)
    write_parquet(metric_rows(history, system=system, split="train", **labels), outputs.history)
    write_parquet(metric_rows(metrics, system=system, split="valid", **labels), outputs.metrics)
