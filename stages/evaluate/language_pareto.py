"""Fit dictionaries of several architectures over a range of sparsities on a language model's harvested activations."""

from winnow.pipeline import stage


@stage(torch=True)
def language_pareto(inputs, outputs, params, log):
    """Write L0, FVU, loss recovered, absorption and agreement of two fits on the test split for each dictionary."""
    import pyarrow as pa

    from winnow.dictionaries.activations import open_store
    from winnow.dictionaries.harvest import corpus_of
    from winnow.dictionaries.metrics import seed_stability
    from winnow.dictionaries.on_language import HeldOut, chosen, sequences_of
    from winnow.dictionaries.on_models import sae_config
    from winnow.dictionaries.sae import fit_many
    from winnow.evaluate.language_dictionaries import mean_absorption, probed_rows, probes_of, token_classes
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.randomness import stream_seed
    from winnow.workloads import load_workload

    workload, digest = load_workload(inputs.train.parent), file_sha256(inputs.model)
    store, test = open_store(inputs.activations[0], digest), open_store(inputs.held_out[0], digest)
    held_out = HeldOut(load_model(inputs.model), chosen(corpus_of(workload, "test"), sequences_of(test)), params.hook)
    probed = probed_rows(len(held_out.rows), params.seed)
    classes, rows = token_classes(workload, held_out.tokens[probed]), held_out.rows[probed]
    probes = probes_of(rows, classes)
    by_penalty = ("relu_l1", "gated")
    points = [(a, v) for a in params.architectures for v in (params.penalties if a in by_penalty else params.k)]
    again = [("topk", value) for value in params.k if "topk" in params.architectures]
    configs = [
        sae_config(architecture, value, params, seed=seed, threads=params.torch_threads)
        for seed, group in ((params.seed, points), (stream_seed(params.seed, "pareto", "again"), again))
        for architecture, value in group
    ]
    fitted = fit_many(store.reading(params.seed), configs, progress=Progress(log, "pareto", "steps"))
    others = {point: pair[0] for point, pair in zip(again, fitted[len(points) :], strict=True)}
    progress = Progress(log, "pareto", "dictionaries judged")
    tables = []
    for done, ((architecture, value), (dictionary, _)) in enumerate(zip(points, fitted, strict=False)):
        metrics = held_out.judge(dictionary) | mean_absorption(dictionary, rows, classes, probes)
        if (architecture, value) in others:
            metrics["seed_stability"] = seed_stability(dictionary.W_dec, others[architecture, value].W_dec)
        variant = f"l1-{value:g}" if architecture in by_penalty else f"k{value}"
        labels = {"system": f"sae_{architecture}", "workload": params.workload, "variant": variant}
        tables.append(metric_rows(metrics, seed=params.seed, split="test", **labels))
        progress(done + 1, len(points))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
