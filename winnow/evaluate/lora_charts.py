"""Charts of fast gradients of adapters: errors by entries and degree, and entries of real heads."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    GREY,
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

METHODS = {"exact_gradients": "exact", "fast_gradients": "fast, degree 2"}


def errors(rows: Rows) -> alt.ConcatChart:
    """Relative error against the largest entry, a line a degree, a panel for the partial and the full case."""
    panels: list[Any] = []
    for case in ("partial", "full"):
        mine = [
            row | {"value": max(row["error"], 1e-16), "terms": f"{row['degree']}"}
            for row in some(rows, "errors")
            if row["case"] == case
        ]
        bands = mean_bands(mine, ["terms", "gamma"], (1e-16, float("inf")))
        x = alt.X("gamma:Q", title="largest entry of queries and keys")
        y = alt.Y("mean:Q", title="relative error", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e"))
        chart = lines(bands, x, y, key_of("terms", "degree", bands))
        panels.append(chart.properties(width=WIDE / 2 - 100, height=260, title=f"{case} adapters"))
    return styled(alt.concat(*panels, columns=2), "bottom")


def growth(rows: Rows) -> alt.LayerChart:
    """The largest entry of any head as adapters are trained, a line for each alpha / r; the bound as a level."""
    tops: dict[tuple[float, int, int], float] = {}
    for row in some(rows, "entries of heads"):
        at = (row["gain"], row["step"], row["seed"])
        tops[at] = max(tops.get(at, 0.0), row["query"], row["key"])
    found = [{"gain": f"{gain:g}", "step": step, "value": top} for (gain, step, _), top in tops.items()]
    bands = mean_bands(found, ["gain", "step"])
    x, y = alt.X("step:Q", title="steps"), alt.Y("mean:Q", title="largest entry of queries and keys")
    chart = alt.layer(
        lines(bands, x, y, key_of("gain", "alpha / r", bands)), *level(rows[0]["bound"], "sqrt(log L)", WIDTH)
    )
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def heads(rows: Rows) -> alt.LayerChart:
    """The largest entry of queries, keys and products of each head before adapters are trained; the bound as a level.

    Before training, what adapters change is as it was frozen.
    """
    before = [row for row in some(rows, "entries of heads") if row["step"] == 0]
    gain = min(row["gain"] for row in before)
    found = [
        {"head": f"{row['layer'] + 1}.{row['head'] + 1}", "of": of, "value": row[part]}
        for row in before
        if row["gain"] == gain
        for part, of in (("query", "queries"), ("key", "keys"), ("product", "products"))
    ]
    bands = mean_bands(found, ["head", "of"])
    key = key_of("of", "", bands)
    x = alt.X("head:N", title="layer and head", axis=alt.Axis(labelAngle=0))
    base = alt.Chart(data(bands)).encode(x=x, color=key.colour(), xOffset="of:N")
    y = alt.Y("mean:Q", title="largest entry")
    marks = base.mark_point(filled=True, size=90, opacity=1).encode(y=y, shape=key.shape())
    spread = base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
    bound = level(before[0]["bound"], "sqrt(log L)", WIDTH)
    return styled(alt.layer(spread, marks, *bound).properties(width=WIDTH, height=HEIGHT))


def phases(rows: Rows) -> alt.LayerChart:
    """The least rank within the tolerance by entries and length, first seed; a cross where none was; the bound."""
    first = min(row["seed"] for row in some(rows, "ranks"))
    mine = [row for row in rows if row["seed"] == first]
    cells = [{"gamma": r["gamma"], "tokens": r["tokens"], "rank": r["rank"]} for r in mine if r["error"] <= 1e-3]
    failed = [{"gamma": r["gamma"], "tokens": r["tokens"]} for r in mine if not r["error"] <= 1e-3]
    bound = sorted({(r["tokens"], r["bound"]) for r in mine})
    x = alt.X(
        "gamma:Q",
        title="largest entry of queries and keys, scores without a scale",
        scale=alt.Scale(padding=30),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y("tokens:Q", title="tokens L (log scale)", scale=alt.Scale(type="log", padding=30), axis=alt.Axis(
        values=[at for at, _ in bound], format="d"
    ))  # fmt: skip
    colour = alt.Color("rank:Q", title="rank", scale=alt.Scale(type="log", scheme="viridis", reverse=True))
    squares = alt.Chart(data(cells)).mark_square(size=700, opacity=1).encode(x=x, y=y, color=colour)
    words = alt.Chart(data(cells)).mark_text(fontSize=12, dy=24).encode(x=x, y=y, text="rank:Q")
    crosses = alt.Chart(data(failed)).mark_point(shape="cross", angle=45, size=160, color=GREY).encode(x=x, y=y)
    line = alt.Chart(data([{"tokens": at, "gamma": value} for at, value in bound])).mark_line(
        color=BLACK, strokeDash=[8, 5], strokeWidth=2, point=True
    ).encode(x=x, y=y, order="tokens:Q")  # fmt: skip
    name = alt.Chart(data([{"tokens": bound[-1][0], "gamma": bound[-1][1], "text": "sqrt(log L)"}]))
    label = name.mark_text(dy=-22, fontSize=15).encode(x=x, y=y, text="text:N")
    return styled(alt.layer(squares, words, crosses, line, label).properties(width=WIDTH, height=HEIGHT))


def by_length(metrics: pa.Table, metric: str, title: str) -> alt.LayerChart:
    """A count or a time of both kinds of gradients against the tokens."""
    rows = [
        row | {"tokens": int(row["variant"].split()[0]), "kind": METHODS[row["system"]]}
        for row in metric_values(metrics, metric)
        if row["system"] in METHODS
    ]
    return by_size(rows, title, "gradients")
