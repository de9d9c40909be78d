"""Draw bits per byte of a language model beside n-gram models."""

from winnow.pipeline import stage


@stage
def plot_language_models(inputs, outputs, params, log):
    """Write one picture: a panel for files of known packages, one for packages never seen."""
    import pyarrow as pa

    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.model_charts import model_scores
    from winnow.pipeline.tables import METRICS_SCHEMA, read_metrics

    panels = {"test": "known packages", "held_out": "packages never seen"}
    rows = [row for row in read_metrics(inputs.metrics).to_pylist() if row["metric"] == "bits_per_byte"]
    shown = [row | {"metric": panels[row["split"]]} for row in rows if row["split"] in panels]
    save_chart(model_scores(pa.Table.from_pylist(shown, METRICS_SCHEMA), list(panels.values())), outputs.bits_per_byte)
