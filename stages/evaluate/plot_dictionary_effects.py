"""Draw what compression does to dictionaries, and write it as a table."""

from winnow.pipeline import stage


@stage
def plot_dictionary_effects(inputs, outputs, params, log):
    """Write the picture as SVG, and a row for each model, with means over seeds, as CSV."""
    from pyarrow.csv import write_csv

    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.dictionary_effects_charts import effects, effects_table
    from winnow.pipeline.tables import read_metrics

    metrics = read_metrics(inputs.metrics)
    save_chart(effects(metrics), outputs.effects)
    write_csv(effects_table(metrics), outputs.table)
