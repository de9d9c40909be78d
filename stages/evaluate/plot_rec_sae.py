"""Draw how reliable concepts of latents are, cards of some, and what taking them out does."""

from winnow.pipeline import stage


@stage
def plot_rec_sae(inputs, outputs, params, log):
    """Write the pictures as SVG; cards and edits are of the first seed."""
    from winnow.evaluate import rec_sae_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    confidence, rules = ([read_parquet(path) for path in paths] for paths in (inputs.confidence, inputs.concepts))
    save_chart(rec_sae_charts.confidence(confidence, rules), outputs.confidence)
    save_chart(rec_sae_charts.cards(read_parquet(inputs.cards[0])), outputs.cards)
    save_chart(rec_sae_charts.edits(rules[0], read_parquet(inputs.edits[0])), outputs.edits)
