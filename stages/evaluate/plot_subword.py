"""Draw code lengths over sizes, lengths of pieces, pieces gained and lost against BPE, and cuts of identifiers."""

from winnow.pipeline import stage


@stage
def plot_subword(inputs, outputs, params, log):
    """Write the pictures as SVG; pieces and cuts are those of the first seed."""
    from winnow.evaluate import subword_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    pieces = read_parquet(inputs.pieces[0])
    save_chart(subword_charts.code_length(read_metrics(inputs.metrics)), outputs.code_length)
    save_chart(subword_charts.piece_lengths(pieces), outputs.piece_lengths)
    save_chart(subword_charts.exchanged(pieces, params.model_size), outputs.exchanged)
    save_chart(subword_charts.cuts(read_parquet(inputs.cuts[0])), outputs.cuts)
