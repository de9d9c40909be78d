"""Draw what explanations by concepts depend on."""

from winnow.pipeline import stage


@stage
def plot_concept_probes(inputs, outputs, params, log):
    """Draw fidelity, cosines, learnability, the curve over numbers of concepts, and weights."""
    import pyarrow as pa

    from winnow.evaluate import concept_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    metrics = read_metrics(inputs.metrics)
    cosines = pa.concat_tables([read_parquet(path) for path in inputs.cosines])
    learned = pa.concat_tables([read_parquet(path) for path in inputs.learnability])
    save_chart(concept_charts.fidelity(metrics), outputs.fidelity)
    save_chart(concept_charts.cosines(cosines), outputs.cosines)
    save_chart(concept_charts.learnability(learned), outputs.learnability)
    save_chart(concept_charts.truncation(metrics), outputs.truncation)
    explained = pa.concat_tables([read_parquet(path) for path in inputs.explanations])
    save_chart(concept_charts.concept_weights(explained), outputs.weights)
