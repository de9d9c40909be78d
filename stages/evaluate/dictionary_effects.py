"""Compare dictionaries of a dense language model with those of its compressed forms."""

from winnow.pipeline import stage


@stage(torch=True)
def dictionary_effects(inputs, outputs, params, log):
    """Write, for each compressed model and for the dense one's refit, fidelity, surviving features and circuits."""
    import pyarrow as pa
    import torch

    from winnow.dictionaries.activations import open_store
    from winnow.dictionaries.harvest import corpus_of
    from winnow.dictionaries.on_language import HeldOut, chosen
    from winnow.dictionaries.on_models import sae_config
    from winnow.dictionaries.sae import fit
    from winnow.evaluate.dictionary_effects import Fitted, compared, fidelity
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.randomness import stream_seed
    from winnow.workloads import load_workload

    corpus = corpus_of(load_workload(inputs.train.parent), "test")
    corpus = chosen(corpus, torch.arange(min(params.sequences, len(corpus.tokens))))
    metas = [path for path in inputs.activations if path.name == "meta.json"]
    seeds = {False: params.seed, True: stream_seed(params.seed, "dictionary effects", "refit")}

    def fitted(model, meta, again):
        store = open_store(meta, file_sha256(model))
        config = sae_config("topk", params.k, params, seed=seeds[again], threads=params.torch_threads)
        reading = store.reading(seeds[again])
        return Fitted(fit(reading, config)[0], HeldOut(load_model(model), corpus, params.hook))

    dense = fitted(inputs.models[0], metas[0], False)
    found = {params.dense: fidelity(dense)}
    progress = Progress(log, "dictionary_effects", "models")
    for done, (path, meta) in enumerate(zip(inputs.models, metas, strict=True)):
        name = "refitted" if done == 0 else path.parents[1].name
        other = fitted(path, meta, True)
        options = {"strongest": params.strongest, "chance_quantile": params.chance_quantile, "seed": params.seed}
        found[name] = fidelity(other) | compared(dense, other, **options)
        progress(done + 1, len(metas))
    labels = {"system": "dictionary_effects", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [metric_rows(values, variant=name, **labels) for name, values in found.items()]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
