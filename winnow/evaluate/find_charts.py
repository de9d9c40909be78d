"""Charts of FIND: who succeeds on what, what a budget buys, and where the worst descriptions are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    SHARE,
    VERMILION,
    WIDE,
    WIDTH,
    Rows,
    data,
    finite,
    grouped,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)

MEASURES = {
    "clean": "success_clean",
    "noise": "success_noise",
    "approximation": "success_approximation",
    "corrupted: outside": "outside",
    "corrupted: inside": "inside",
}

TEXT_MEASURES = {
    "of one part": "success_atomic",
    "of two": "success_composed",
    "words: unit test": "unit_test",
    "words: the parts": "family_right",
}

RELATION_MEASURES = {
    "all words": "success",
    "outside of the group": "outside",
    "inside of it": "inside",
    "words: unit test": "unit_test",
}


def success_bars(metrics: pa.Table, budget: int) -> alt.FacetChart:
    """Share of numeric functions that are described, a panel a complication, a bar an interpreter."""
    return _bars(metrics, budget, ("numeric",), MEASURES, "share of numeric functions described")


def text_bars(metrics: pa.Table, budget: int) -> alt.FacetChart:
    """Share of functions of texts, concepts and relations described as code and in words, a bar an interpreter."""
    title = "share of functions of texts, concepts and relations described"
    return _bars(metrics, budget, ("string", "entity", "relation"), TEXT_MEASURES, title)


def relation_bars(metrics: pa.Table, budget: int) -> alt.FacetChart:
    """Share of relations described, inside and outside of their corrupted group, a bar an interpreter."""
    return _bars(metrics, budget, ("relation",), RELATION_MEASURES, "share of relations described")


def _bars(metrics: pa.Table, budget: int, kinds: Sequence[str], measures: dict[str, str], title: str) -> alt.FacetChart:
    found: Rows = []
    for label, metric in measures.items():
        for row in metric_values(metrics, metric):
            interpreter, kind, asked = row["variant"].rsplit("-", 2)
            if kind in kinds and int(asked) == budget:
                found.append(row | {"interpreter": interpreter.replace("_", " "), "on": label})
    columns = list(measures)
    rows = mean_bands(some(found, title), ["interpreter", "on"], SHARE)
    x = alt.X("mean:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=3))
    y = alt.Y("interpreter:N", title=None, sort=None, axis=alt.Axis(labelLimit=260))
    base = alt.Chart(data(rows)).encode(y=y)
    bars = base.mark_bar(color=BLUE, opacity=0.8).encode(x=x)
    spread = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    panel = alt.layer(bars, spread).properties(width=WIDE / len(columns), height=200)
    header = alt.Header(labelFontSize=15)
    return styled(panel.facet(column=alt.Column("on:N", title=title, sort=columns, header=header)))


def budget_lines(metrics: pa.Table) -> alt.LayerChart:
    """Share of functions that are described against queries, a line a kind and interpreter."""
    rows = []
    for row in metric_values(metrics, "success"):
        if row["variant"].count("-") == 2:
            interpreter, kind, asked = row["variant"].rsplit("-", 2)
            rows.append(row | {"line": f"{kind}: {interpreter.replace('_', ' ')}", "budget": int(asked)})
    swept = {key for key, found in grouped(rows, ["line"]).items() if len({row["budget"] for row in found}) > 1}
    rows = mean_bands([row for row in rows if (row["line"],) in swept], ["line", "budget"], SHARE)
    rows = some(rows, "interpreters with more than one budget")
    asked = sorted({row["budget"] for row in rows})
    x = alt.X("budget:Q", title="queries (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(values=asked))
    y = alt.Y("mean:Q", title="share of functions described", scale=alt.Scale(domain=[0, 1]))
    return styled(
        lines(rows, x, y, key_of("line", "interpreter", rows), bars=True).properties(width=WIDTH, height=HEIGHT)
    )


def worst_curves(curves: pa.Table) -> alt.ConcatChart:
    """The functions that are described worst, and what was said of them, each over its own largest value."""
    rows = some(curves.to_pylist(), "curves of functions")
    colour = alt.Color(
        "what:N", title=None, scale=alt.Scale(domain=["function", "description"], range=[BLUE, VERMILION])
    )
    panels = []
    for (_, title), found in grouped(rows, ["function_id", "title"]).items():
        drawn = [row for row in found if finite(row["value"])]
        chart = (
            alt.Chart(data(drawn))
            .mark_line(strokeWidth=1.5)
            .encode(
                x=alt.X("x:Q", title=None, axis=alt.Axis(tickCount=3)),
                y=alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=3)),
                color=colour,
                detail="what:N",
            )
        )
        panels.append(chart.properties(width=WIDE / 2.4, height=110, title=title))
    return styled(alt.concat(*panels, columns=2), "bottom").configure_title(fontSize=14, fontWeight="normal")
