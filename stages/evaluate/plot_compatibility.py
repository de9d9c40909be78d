"""Draw how compatible the models of each arm stay."""

from winnow.pipeline import stage


@stage
def plot_compatibility(inputs, outputs, params, log):
    """Draw scores, matrices, and two models' features on a triangle."""
    import pyarrow as pa

    from winnow.evaluate import compatibility_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    matrices = pa.concat_tables([read_parquet(path) for path in inputs.matrix])
    save_chart(compatibility_charts.compatibility_scores(read_metrics(inputs.metrics)), outputs.compatibility)
    save_chart(compatibility_charts.matrices(matrices), outputs.matrices)
    save_chart(compatibility_charts.stationary_features(read_parquet(inputs.plane[0])), outputs.stationary)
