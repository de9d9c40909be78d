"""Fit dictionaries on data whose features are known, and score them against the truth."""

from winnow.pipeline import stage


@stage(torch=True)
def planted_dictionaries(inputs, outputs, params, log):
    """Write recovery of planted atoms, and absorption of parents by children, for each k and seed."""
    import pyarrow as pa

    from winnow.dictionaries import planted
    from winnow.dictionaries.metrics import evaluate
    from winnow.dictionaries.sae import SaeConfig, fit
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet

    points = [(seed, k) for seed in params.seeds for k in params.k]
    progress = Progress(log, "planted", "settings")

    def splits(seed):
        return (params.rows, seed), (params.probe_rows, seed + 1)

    tables = []
    for done, (seed, k) in enumerate(points):
        config = SaeConfig(
            "topk",
            m=params.width,
            k=k,
            steps=params.steps,
            batch=params.batch_size,
            lr=params.learning_rate,
            seed=seed,
            threads=params.torch_threads,
        )
        truth = planted.planted_dictionary(params.atoms, params.dimensions, params.active, seed=seed)
        dictionary, _ = fit(truth.sample(params.rows, seed), config)
        held_out = truth.sample(params.rows // 10, seed + 1)
        metrics = evaluate(dictionary, held_out).metrics | {"recovery": planted.recovery(dictionary.W_dec, truth.atoms)}
        random_decoder = planted.planted_dictionary(params.width, params.dimensions, 1, seed=seed + 1).atoms
        metrics["recovery_of_chance"] = planted.recovery(random_decoder, truth.atoms)
        hierarchy = planted.planted_hierarchy(params.parents, params.children, params.dimensions, seed=seed)
        rates = {"parent_rate": params.parent_rate, "child_rate": params.child_rate}
        rows = [planted.sample_hierarchy(hierarchy, n, s, **rates) for n, s in splits(seed)]
        absorbing, _ = fit(rows[0].rows, config)
        metrics["absorption"] = planted.hierarchy_absorption(absorbing, rows[1])
        labels = {"workload": params.workload, "variant": f"k{k}", "seed": seed, "split": "test"}
        tables.append(metric_rows(metrics, system="sae_topk", **labels))
        progress(done + 1, len(points))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
