"""Fit a sparse autoencoder on one hook point of a model, dense or compressed."""

from winnow.pipeline import stage


@stage(torch=True)
def fit_sparse_autoencoder(inputs, outputs, params, log):
    """Write the dictionary, the history of its fit, its metrics on the valid split and where its features fire."""
    import numpy as np

    from winnow.dictionaries.dictionary import save
    from winnow.dictionaries.on_language import features_of
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
    dictionary.info["metrics"] = metrics
    labels = {"workload": params.workload, "variant": params.variant, "seed": params.seed}
    system = f"sae_{params.architecture}"
    save(dictionary, outputs.dictionary)
    held_out, examples = capture_split(model, workload, "valid", params.hook), len(workload.arrays("valid")[1])
    docs = np.arange(len(held_out)) // (len(held_out) // examples)
    write_parquet(features_of(dictionary, held_out.split(4096), {"doc": docs}), outputs.features)
    write_parquet(metric_rows(history, system=system, split="train", **labels), outputs.history)
    write_parquet(metric_rows(metrics, system=system, split="valid", **labels), outputs.metrics)
