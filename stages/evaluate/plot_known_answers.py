"""Draw which measures of interpretability recover planted answers, as one table."""

from winnow.pipeline import stage


@stage
def plot_known_answers(inputs, outputs, params, log):
    """Write the picture as SVG."""
    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.known_charts import answers
    from winnow.pipeline.tables import read_parquet

    rows = [row for path in inputs.scores for row in read_parquet(path).to_pylist()]
    save_chart(answers(rows), outputs.answers)
