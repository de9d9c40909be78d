"""Charts of attention over pairs: accuracy as networks learn to match, and errors of the fast form."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    HEIGHT,
    WIDE,
    WIDTH,
    Rows,
    data,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.evaluate.scaling import by_size

FORMS = {"exact_attention": "exact", "fast_attention": "fast, degree 4"}
NAMES = {"taylor": "Taylor", "chebyshev": "Chebyshev"}
ARMS = {
    "kronecker": "over pairs",
    "standard": "ordinary",
    "longer": "ordinary, twice the steps",
    "two_layers": "ordinary, two layers",
}


def learning(metrics: pa.Table, history: pa.Table) -> alt.LayerChart:
    """Accuracy on triples over training, a line a network, and the commoner answer as a level."""
    rows = [
        row | {"network": ARMS[row["system"]]}
        for row in history.to_pylist()
        if row["metric"] == "accuracy" and row["variant"] == "match3"
    ]
    bands = mean_bands(some(rows, "accuracies of matching"), ["network", "step"], (0, 1))
    common = [row["value"] for row in metric_values(metrics, "majority") if row["variant"] == "match3"]
    x = alt.X("step:Q", title="steps")
    y = alt.Y("mean:Q", title="accuracy on triples", scale=alt.Scale(zero=False))
    chart = alt.layer(
        lines(bands, x, y, key_of("network", "attention", bands)),
        *level(sum(common) / len(common), "commoner answer", WIDTH),
    )
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def errors(rows: Rows) -> alt.ConcatChart:
    """Largest error at each bound of entries and each degree, a panel for each order, length and kind of polynomial."""
    panels: list[Any] = []
    for order, tokens, basis in sorted({(row["order"], row["tokens"], row["basis"]) for row in some(rows, "errors")}):
        mine = mean_bands(
            [
                row | {"value": max(row["error"], 1e-16)}
                for row in rows
                if (row["order"], row["tokens"], row["basis"]) == (order, tokens, basis)
            ],
            ["bound", "degree"],
        )
        scale = alt.Scale(type="log", scheme="viridis", domain=[1e-12, 1], clamp=True)
        chart = alt.Chart(data(mine)).mark_rect().encode(
            x=alt.X("bound:O", title="largest entry B", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("degree:O", title="degree", sort="descending"),
            color=alt.Color("mean:Q", title="largest error", scale=scale),
        )  # fmt: skip
        title = f"order {order}, {tokens} tokens, {NAMES[basis]}"
        panels.append(chart.properties(width=WIDE / 2 - 100, height=320, title=title))
    return styled(alt.concat(*panels, columns=2))


def by_length(metrics: pa.Table, metric: str, title: str) -> alt.LayerChart:
    """A count or a time of both forms against the tokens."""
    rows = [
        row | {"tokens": int(row["variant"].split()[0]), "kind": FORMS[row["system"]]}
        for row in metric_values(metrics, metric)
        if row["system"] in FORMS
    ]
    return by_size(rows, title, "attention")
