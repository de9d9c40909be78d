"""Fit transcoders of one feed-forward layer at several sparsities, and autoencoders of what the layer adds."""

from winnow.pipeline import stage


@stage(torch=True)
def fit_transcoders(inputs, outputs, params, log):
    """Write the transcoder that is kept and where it fires, all histories, and metrics of all on the test split."""
    import pyarrow as pa
    import torch

    from winnow.dictionaries.activations import open_store
    from winnow.dictionaries.dictionary import save
    from winnow.dictionaries.harvest import corpus_of
    from winnow.dictionaries.on_language import HeldOut, chosen, feature_table
    from winnow.dictionaries.on_models import sae_config
    from winnow.dictionaries.sae import fit_many
    from winnow.dictionaries.transcoder import fit_transcoders as fit_pairs
    from winnow.evaluate.transcoder_comparison import SYSTEMS, predicates, told
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    store = open_store(inputs.activations[0], file_sha256(inputs.model))
    counted = params.dictionary_architecture == "topk"
    aims, kept = (params.k, params.kept_k) if counted else (params.penalties, params.kept_penalty)
    how = {"seed": params.seed, "threads": params.torch_threads}
    configs = [sae_config(params.dictionary_architecture, aim, params, **how) for aim in aims]
    progress = Progress(log, f"layer {params.layer}", "steps")
    found = {
        True: fit_pairs(store.reading(params.seed, ("x", "y")), configs, progress=progress),
        False: fit_many(store.reading(params.seed, ("y",)), configs, progress=progress),
    }
    corpus = corpus_of(workload, "test")
    corpus = chosen(corpus, torch.arange(min(params.sequences, len(corpus.tokens))))
    (read, added), known = store.meta["hooks"], predicates(workload, corpus)
    tables, histories = [], []
    for transcodes, fitted in found.items():
        held_out = HeldOut(model, corpus, added, read if transcodes else None)
        cost = {"ablation_cost": held_out.ablated["mean"] - held_out.ablated["clean"]}
        for aim, (dictionary, history) in zip(aims, fitted, strict=True):
            labels = {"system": SYSTEMS[transcodes], "workload": params.workload, "seed": params.seed}
            labels["variant"] = f"layer{params.layer}-{'k' if counted else 'p'}{aim:g}"
            metrics = held_out.judge(dictionary) | cost | told(dictionary, held_out.read, known)
            tables.append(metric_rows(metrics, split="test", **labels))
            histories.append(metric_rows(history, split="train", **labels))
            if transcodes and aim == kept:
                dictionary.info.update(hook=read, hook_out=added, model=params.model, workload=params.workload)
                dictionary.info["metrics"] = metrics
                save(dictionary, outputs.dictionary)
                write_parquet(feature_table(dictionary, store), outputs.features)
    write_parquet(pa.concat_tables(histories), outputs.history)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
