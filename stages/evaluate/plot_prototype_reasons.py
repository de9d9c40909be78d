"""Draw the reasons of prototypes."""

from winnow.pipeline import stage


@stage
def plot_prototype_reasons(inputs, outputs, params, log):
    """Draw importances on train against test, those of each prototype, and cards."""
    import pyarrow as pa

    from winnow.evaluate import reason_cards, reason_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    importances = pa.concat_tables([read_parquet(path) for path in inputs.importances])
    save_chart(reason_charts.agreement(importances), outputs.agreement)
    save_chart(reason_charts.importances(importances), outputs.importances)
    patches = pa.concat_tables([read_parquet(path) for path in inputs.cards])
    save_chart(reason_cards.cards(patches, importances), outputs.cards)
