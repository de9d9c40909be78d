"""Draw how well scores of words tell topics, phrases and the better model, and some coloured texts."""

from winnow.pipeline import stage


@stage
def plot_word_explanations(inputs, outputs, params, log):
    """Write the pictures as SVG."""
    from winnow.evaluate import word_charts as charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    def rows(paths):
        return [row | {"seed": i} for i, path in enumerate(paths) for row in read_parquet(path).to_pylist()]

    save_chart(charts.joined(rows(inputs.joined)), outputs.joined)
    save_chart(charts.phrases(rows(inputs.phrases)), outputs.phrases)
    save_chart(charts.user(rows(inputs.user)), outputs.user)
    save_chart(charts.words(rows(inputs.words[:1])), outputs.words)
