"""Put transcoders and autoencoders of all layers side by side."""

from winnow.pipeline import stage


@stage
def transcoder(inputs, outputs, params, log):
    """Write the metrics of each layer's dictionaries, and their means over layers."""
    import pyarrow as pa

    from winnow.evaluate.transcoder_comparison import summary
    from winnow.pipeline.tables import metric_rows, read_metrics, write_parquet

    metrics = read_metrics(inputs.metrics)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    means = [
        metric_rows(values, system=system, variant=variant, **labels)
        for (system, variant), values in summary(metrics.to_pylist(), params.least_cost).items()
    ]
    write_parquet(pa.concat_tables([metrics, *means]), outputs.metrics)
