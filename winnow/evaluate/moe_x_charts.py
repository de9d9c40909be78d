"""Charts of mixtures of experts: loss, units that fire, and what single units tell."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    GREY,
    SHARE,
    WIDE,
    WIDTH,
    Rows,
    data,
    key_of,
    mean_bands,
    metric_values,
    some,
    styled,
)

ARMS = {
    "dense": "dense",
    "dense_wide": "dense, all experts wide",
    "switch": "learned router",
    "relu_experts": "learned router, ReLU",
    "quiet_router": "quiet router, GELU",
    "moe_x": "MoE-X",
    "dense_continued": "dense, one expert's size",
    "switch_upcycled": "GELU, learned, upcycled",
    "relu_experts_upcycled": "ReLU, learned, upcycled",
    "quiet_router_upcycled": "GELU, quiet, upcycled",
    "moe_x_upcycled": "MoE-X, upcycled",
    "dictionary": "dense, dictionary as active",
    "dictionary_sparse": "dense, dictionary, an eighth",
}
PANELS = {
    "cross_entropy": "cross-entropy (nats a byte)",
    "l0": "units that fire",
    "coverage": "coverage (F1); grey: of shifted labels",
    "reconstruction": "reconstruction (F1)",
    "coverage_tree": "coverage of the tree (F1)",
    "detection": "detection from contexts (area)",
}
BOUNDS = {"cross_entropy": (0.0, float("inf")), "l0": (0.0, float("inf"))}
"""Of what can be above 1."""
CONTEXTS = 3
SHOWN = 24
"""Letters of a context that fit a column."""
MONOSPACE = "Liberation Mono, Menlo, Consolas, monospace"


def scores(metrics: pa.Table) -> alt.ConcatChart:
    """Mean and interval of each score, a row a kind of layer."""
    panels: list[Any] = []
    for place, (metric, title) in enumerate(PANELS.items()):
        left = place % 2 == 0
        axis = alt.Axis(labels=left, ticks=left, labelLimit=300, minExtent=260 if left else 0)
        y = alt.Y("layer:N", title=None, sort=list(ARMS.values()), axis=axis)
        x = alt.X("mean:Q", title=title, scale=alt.Scale(zero=False, padding=20), axis=alt.Axis(tickCount=4))
        shown = [(metric, BLUE), ("coverage_shifted", GREY)] if metric == "coverage" else [(metric, BLUE)]
        marks: list[Any] = []
        for each, colour in shown:
            rows = [r | {"layer": ARMS[r["system"]]} for r in metric_values(metrics, each) if r["system"] in ARMS]
            bands = mean_bands(some(rows, title), ["layer"], BOUNDS.get(metric, SHARE))
            base = alt.Chart(data(bands)).encode(y=y)
            marks.append(base.mark_point(filled=True, size=100, color=colour).encode(x=x))
            marks.append(base.mark_rule(color=colour).encode(x="low:Q", x2="high:Q"))
        panels.append(alt.layer(*marks).properties(width=WIDE / 2 - 100, height=320))
    return styled(alt.concat(*panels, columns=2))


def experts(rows: Rows) -> alt.Chart:
    """Mean score of a router against the mean share of units that would fire, a point an expert; panels by arm."""
    arms = ("relu_experts", "moe_x", "relu_experts_upcycled", "moe_x_upcycled")
    shown = [
        {"score": row["score"], "active": row["active"], "layer": f"layer {row['layer']}", "arm": ARMS[arm]}
        for arm in arms
        for row in some(rows, "experts")
        if row["arm"] == arm
    ]
    key = key_of("layer", "", sorted(shown, key=lambda row: row["layer"]))
    free = alt.Scale(zero=False)
    base = alt.Chart().mark_point(size=70).encode(
        x=alt.X("active:Q", title="share of its units that would fire", scale=free, axis=alt.Axis(tickCount=5)),
        y=alt.Y("score:Q", title="router's score of an expert", scale=free),
        color=key.colour(),
        shape=key.shape(),
    )  # fmt: skip
    panels = [
        base.properties(
            data=data([row for row in shown if row["arm"] == ARMS[arm]]), title=ARMS[arm], width=WIDE / 2, height=240
        )
        for arm in arms
        if any(row["arm"] == ARMS[arm] for row in shown)
    ]
    return styled(alt.concat(*panels, columns=2), "bottom")


def contexts(rows: Rows, arm: str = "moe_x_upcycled") -> alt.Chart:
    """Of each property the best unit of one kind of layer, its F1, and the three contexts in which it is strongest."""
    mine = some([row for row in rows if row["arm"] == arm], "features of this kind of layer")
    first = min(row["seed"] for row in mine)
    shown = [
        {"place": place, "line": line, "text": text}
        for line, row in enumerate(row for row in mine if row["seed"] == first)
        for place, text in enumerate(
            [row["property"], f"{row['f1']:.2f}", *(f"\u2026{each[-SHOWN:]}" for each in row["contexts"][:CONTEXTS])]
        )
    ]
    for place, head in enumerate(["property", "F1", "strongest at the last letter of"]):
        shown.append({"place": place, "line": -1, "text": head})
    columns = [0, 180, *(240 + 240 * i for i in range(CONTEXTS))]
    for cell in shown:
        cell["x"] = columns[cell["place"]]
    height = 24 * (1 + max(cell["line"] for cell in shown) + 1)
    chart = alt.Chart(data(shown)).mark_text(align="left", fontSize=14, font=MONOSPACE).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 960])),
        y=alt.Y("line:O", axis=None),
        text="text:N",
    )  # fmt: skip
    return styled(chart.properties(width=960, height=height))


def encoders(rows: Rows) -> alt.Chart:
    """Units of the last layer in a plane, near where their encoders point alike, coloured by expert."""
    shown = [row | {"expert": f"{row['expert'] + 1}"} for row in some(rows, "units in a plane")]
    key = key_of("expert", "expert", shown)
    blank = alt.Axis(labels=False, ticks=False, grid=False)
    chart = alt.Chart(data(shown)).mark_point(size=45, filled=True, opacity=0.8).encode(
        x=alt.X("x:Q", title="t-SNE, first", axis=blank, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", title="t-SNE, second", axis=blank, scale=alt.Scale(zero=False)),
        color=key.colour(),
        shape=key.shape(),
    )  # fmt: skip
    return styled(chart.properties(width=WIDTH, height=WIDTH))
