"""Fit dictionaries on data whose features are known, and score them against the truth."""

from winnow.pipeline import stage


@stage(torch=True)
def planted_dictionaries(inputs, outputs, params, log):
    """Write recovery of planted atoms, and absorption of parents by children, for each k and seed."""
    import pyarrow as pa

    from winnow.dictionaries.metrics import row_metrics
    from winnow.dictionaries.planted import planted_dictionary, recovery
    from winnow.dictionaries.planted_absorption import hierarchy_absorption
    from winnow.dictionaries.sae import SaeConfig, fit
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet

    points = [(seed, k) for seed in params.seeds for k in params.k]
    progress = Progress(log, "planted", "dictionaries")
    tables = []
    for done, (seed, k) in enumerate(points):
        planted = planted_dictionary(params.atoms, params.dimensions, params.active, seed=seed)
        settings = {"k": k, "steps": params.steps, "batch": params.batch_size, "lr": params.learning_rate, "seed": seed}
        for architecture in params.architectures:
            config = SaeConfig(architecture, m=params.width, threads=params.torch_threads, **settings)
            dictionary, _ = fit(planted.sample(params.rows, seed), config)
            held_out = planted.sample(params.rows // 10, seed + 1_000_000)
            values = {**row_metrics(dictionary, held_out), "recovery": recovery(dictionary.W_dec, planted.atoms)}
            labels = {"workload": params.workload, "variant": f"k{k}", "seed": seed, "split": "test"}
            tables.append(metric_rows(values, system=f"sae_{architecture}", **labels))
        progress(done + 1, len(points))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
