"""Draw how searches for word2vec's settings fared, and what the cross-entropy method drew."""

from winnow.pipeline import stage


@stage
def plot_word2vec_ceo(inputs, outputs, params, log):
    """Write the pictures as SVG, and the neighbours of the first seed as CSV."""
    import json

    import pyarrow as pa
    from pyarrow.csv import write_csv

    from winnow.evaluate import word2vec_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_parquet

    tables = [read_parquet(path).to_pylist() for path in inputs.trials]
    first = json.loads(inputs.found[0].read_text())
    save_chart(word2vec_charts.anytime(tables), outputs.anytime)
    save_chart(word2vec_charts.law(first["laws"]), outputs.law)
    save_chart(word2vec_charts.every_trial(tables[0], first["laws"]), outputs.trials)
    near = [{"settings": name, **row} for name, rows in first["neighbours"].items() for row in rows]
    write_csv(pa.Table.from_pylist(near), outputs.neighbours)
