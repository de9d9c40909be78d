"""Draw the reasons of prototypes in sets where the right one is known."""

from winnow.pipeline import stage


@stage
def plot_planted_reasons(inputs, outputs, params, log):
    """Draw the importance of each edit in each planted set."""
    import pyarrow as pa

    from winnow.evaluate import reason_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    importances = pa.concat_tables([read_parquet(path) for path in inputs.importances])
    save_chart(reason_charts.planted(importances), outputs.planted)
