"""Compare pruning criteria on one trained model: same weights to start from, same budget, several sparsities."""

from winnow.pipeline import stage


@stage(torch=True)
def pruning_criteria(inputs, outputs, params, log):
    """Write test metrics for each criterion and sparsity, and how many weights each layer keeps."""
    import pyarrow as pa

    from winnow.compress import compress
    from winnow.compress._measure import nonzero, summary
    from winnow.models import load_model
    from winnow.pipeline.names import percent
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    comparison = params.variant.removeprefix("criteria_")
    dense = workload.metrics(load_model(inputs.model), "test")
    tables, layers = [metric_rows(dense, system="dense", variant=comparison, **labels)], []
    points = [(method, sparsity) for method in params.methods for sparsity in params.sparsities]
    progress = Progress(log, params.variant, "prunings")
    for done, (method, sparsity) in enumerate(points):
        model, masks, _ = compress(
            method.removesuffix("_gradual").removesuffix("_mt"),
            load_model(inputs.model),
            workload,
            sparsity=sparsity,
            seed=params.seed,
            epochs=params.epochs,
            lr=params.learning_rate,
            batch_size=params.batch_size,
            gradual_steps=params.gradual_steps if method.endswith("_gradual") else 0,
            min_keep_share=params.min_keep_share if method.endswith("_mt") else 0.0,
            group=params.group,
        )
        variant = f"{comparison}-{percent(sparsity)}"
        metrics = {
            **workload.metrics(model, "test"),
            **summary(model, masks, workload.example_inputs()),
            "sparsity": sparsity,
        }
        tables.append(metric_rows(metrics, system=method, variant=variant, **labels))
        layers += [
            {"system": method, "sparsity": sparsity, "layer": name, "nonzero": n, "size": masks[name].numel()}
            for name, n in nonzero(masks).items()
        ]
        progress(done + 1, len(points))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(layers), outputs.layers)
