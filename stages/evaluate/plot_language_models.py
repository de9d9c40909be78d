"""Draw bits per byte of language models beside n-gram models, their learning and their speed; show what they write."""

from winnow.pipeline import stage


@stage
def plot_language_models(inputs, outputs, params, log):
    """Write the pictures, and a page of the texts of the first seed."""
    import pyarrow as pa

    from winnow.evaluate import language_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.language_page import samples_page
    from winnow.evaluate.model_charts import model_scores
    from winnow.pipeline.tables import METRICS_SCHEMA, read_metrics, read_parquet

    panels = {"test": "known packages", "held_out": "packages never seen", "texts": "part of these, any vocabulary"}
    metrics = read_metrics(inputs.metrics)
    rows = [row for row in metrics.to_pylist() if row["metric"] == "bits_per_byte" and row["split"] in panels]
    told = {row["split"] for row in rows}
    panels = {split: title for split, title in panels.items() if split in told}
    shown = pa.Table.from_pylist([row | {"metric": panels[row["split"]]} for row in rows], METRICS_SCHEMA)
    save_chart(model_scores(shown, list(panels.values())), outputs.bits_per_byte)
    save_chart(charts.learning(read_metrics(inputs.histories), metrics), outputs.learning)
    save_chart(charts.speeds(read_metrics(inputs.timings)), outputs.speed)
    title = f"What language models of {params.workload} write"
    outputs.samples.write_text(samples_page(read_parquet(inputs.samples[0]), title), encoding="utf-8")
