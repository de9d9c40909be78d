"""Draw what each mixture of the decay teaches, what each way of tuning does, and what verification finds."""

from winnow.pipeline import stage


@stage
def plot_opencoder_training(inputs, outputs, params, log):
    """Write the pictures as SVG; solutions of all seeds are counted together."""
    import pyarrow as pa

    from winnow.evaluate import code_training_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    save_chart(charts.annealing(metrics), outputs.annealing)
    save_chart(charts.tuning(metrics), outputs.tuning)
    solutions = pa.concat_tables(read_parquet(path) for path in inputs.synthetic)
    save_chart(charts.verification(solutions), outputs.verification)
