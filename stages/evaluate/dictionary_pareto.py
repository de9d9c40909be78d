"""Fit dictionaries of several architectures over a range of sparsities on one model's activations."""

from winnow.pipeline import stage


@stage(torch=True)
def dictionary_pareto(inputs, outputs, params, log):
    """Write L0, FVU, loss recovered and dead features on the test split for each architecture and sparsity."""
    import pyarrow as pa

    from winnow.dictionaries.on_models import evaluate_dictionary, sae_config
    from winnow.dictionaries.sae import fit
    from winnow.models import load_model
    from winnow.models.hooks import capture_split
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    rows = capture_split(model, workload, "train", params.hook)
    by_penalty = ("relu_l1", "gated")
    points = [
        (name, value)
        for name in params.architectures
        for value in (params.penalties if name in by_penalty else params.k)
    ]
    progress = Progress(log, "pareto", "dictionaries")
    tables = []
    for done, (architecture, value) in enumerate(points):
        config = sae_config(architecture, value, params, seed=params.seed, threads=params.torch_threads)
        dictionary, _ = fit(rows, config)
        metrics = evaluate_dictionary(dictionary, model, workload, "test", params.hook)
        variant = f"l1-{value:g}" if architecture in by_penalty else f"k{value}"
        labels = {"system": f"sae_{architecture}", "workload": params.workload, "variant": variant}
        tables.append(metric_rows(metrics, seed=params.seed, split="test", **labels))
        progress(done + 1, len(points))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
