"""Charts of routes: loss by budget, which layers oracles use, how much of their gain is hindsight."""

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
    grouped,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)

COLUMNS, LETTER = 80, 14
MONOSPACE = "Liberation Mono, Menlo, Consolas, monospace"
COSTED = {"oracle": "oracle", "fixed": "best fixed"}
KINDS = {
    "oracle": "oracle of tokens",
    "sequence": "oracle of stretches",
    "fixed": "best fixed route",
    "mean": "mean of routes",
    "drawn": "best of draws",
    "router": "router",
    "router_by_layer": "router, by layer",
}


def budgets(metrics: pa.Table, layers: int) -> alt.LayerChart:
    """Cross-entropy against the number of large layers; routers stand at the number that they take."""
    shares = {(r["system"], r["variant"], r["seed"]): r["value"] for r in metric_values(metrics, "share")}
    rows = [
        row | {"kind": KINDS[row["system"]], "k": float(row["variant"][1:])}
        for row in some(metric_values(metrics, "cross_entropy"), "routes")
        if row["system"] in KINDS
    ]
    for row in rows:
        share = shares.get((row["system"], row["variant"], row["seed"]))
        row["k"] = row["k"] if share is None else layers * share
    curves = mean_bands([row for row in rows if not row["system"].startswith("router")], ["kind", "k"])
    points = [row | {"mean": row["value"]} for row in rows if row["system"].startswith("router")]
    key = key_of("kind", "route", [*curves, *points])
    x = alt.X("k:Q", title=f"large layers of {layers}")
    y = alt.Y("mean:Q", title="cross-entropy (nats a token)", scale=alt.Scale(zero=False))
    base = alt.Chart(data(points)).mark_point(size=80).encode(x=x, y=y, color=key.colour(), shape=key.shape())
    return styled(alt.layer(lines(curves, x, y, key), base).properties(width=WIDTH, height=HEIGHT))


def use(tables: list[Rows], what: str = "large") -> alt.LayerChart:
    """Share of tokens for which the oracle of each budget takes each block's large layer, or skips it, as a map."""
    rows = [row | {"value": row["share"]} for table in tables for row in table]
    bands = [band | {"text": f"{band['mean']:.2f}"} for band in mean_bands(some(rows, "oracles"), ["layer", "k"])]
    base = alt.Chart(data(bands)).encode(
        x=alt.X("layer:O", title="block", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("k:O", title="large layers", sort="descending"),
    )
    colour = alt.Color("mean:Q", title=f"share {what}", scale=alt.Scale(scheme="blues", domain=[0, 1]))
    words = base.mark_text(fontSize=15).encode(
        text="text:N", color=alt.condition("datum.mean > 0.6", alt.value("white"), alt.value("black"))
    )
    return styled((base.mark_rect().encode(color=colour) + words).properties(width=WIDTH, height=HEIGHT))


def hindsight(metrics: pa.Table, tables: list[Rows]) -> alt.HConcatChart:
    """The oracle's loss by the number of its candidates, and its gain for true and for shuffled labels."""
    rows = [row | {"value": row["cross_entropy"], "what": "oracle"} for table in tables for row in table]
    bands = mean_bands(some(rows, "candidates"), ["what", "candidates"])
    x = alt.X("candidates:Q", title="routes to choose from (log scale)", scale=alt.Scale(type="log"))
    y = alt.Y("mean:Q", title="oracle's cross-entropy (nats a token)", scale=alt.Scale(zero=False))
    size: dict[str, Any] = {"width": WIDE / 2.2, "height": HEIGHT}
    left = lines(bands, x, y, key_of("what", "", bands)).properties(**size)
    gains = [
        row | {"labels": "true" if row["system"] == "oracle" else "shuffled", "k": row["variant"][1:]}
        for row in some(metric_values(metrics, "gain"), "gains")
    ]
    found = mean_bands(gains, ["labels", "k"])
    key = key_of("labels", "labels", found)
    places = {"x": alt.X("k:O", title="large layers", axis=alt.Axis(labelAngle=0)), "xOffset": "labels:N"}
    bars = alt.Chart(data(found)).mark_bar().encode(
        y=alt.Y("mean:Q", title="gain over the mean of routes (nats a token)"), color=key.colour(), **places
    )  # fmt: skip
    spread = alt.Chart(data(found)).mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q", **places)
    return styled(alt.hconcat(left, (bars + spread).properties(**size)), "bottom")


def costs(metrics: pa.Table, tables: list[Rows]) -> alt.LayerChart:
    """Cross-entropy against multiply-adds a token: the best routes at no more than so many, draws and routers."""
    rows = [
        row | {"value": row["cross_entropy"], "route": f"{COSTED[row['kind']]}, {row['routes']}"}
        for table in tables
        for row in some(table, "costs")
    ]
    curves = mean_bands(rows, ["route", "multiply_adds"])
    work = {(r["system"], r["variant"], r["seed"]): r["value"] for r in metric_values(metrics, "multiply_adds")}
    points = [
        {"route": KINDS[row["system"]], "multiply_adds": cost, "mean": row["value"]}
        for row in metric_values(metrics, "cross_entropy")
        if row["system"] in ("drawn", "router", "router_by_layer")
        and (cost := work.get((row["system"], row["variant"], row["seed"])))
    ]
    key = key_of("route", "route", [*curves, *points])
    x = alt.X("multiply_adds:Q", title="multiply-adds a token", axis=alt.Axis(format="~s"), scale=alt.Scale(zero=False))
    y = alt.Y("mean:Q", title="cross-entropy (nats a token)", scale=alt.Scale(zero=False))
    marks = alt.Chart(data(points)).mark_point(size=80).encode(x=x, y=y, color=key.colour(), shape=key.shape())
    found = alt.layer(lines(curves, x, y, key), marks)
    return styled(found.properties(width=WIDTH, height=HEIGHT))


def tokens(rows: Rows) -> alt.LayerChart:
    """The text of some windows, each token the darker the more its best route gains over the cheapest."""
    cells, line = [], -1
    for (_,), window in grouped(some(rows, "tokens"), ["window"]).items():
        line, column = line + (1 if line < 0 else 2), 0
        for row in window:
            text = row["text"].replace("\n", "\u21b5").replace(" ", "\u00b7")
            if column + len(text) > COLUMNS:
                line, column = line + 1, 0
            cells.append({"text": text, "gain": row["gain"], "x": column, "end": column + len(text), "line": line})
            column += len(text)
    base = alt.Chart(data(cells)).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, COLUMNS])), y=alt.Y("line:O", axis=None)
    )
    gain = alt.Color("gain:Q", title="gain (nats)", scale=alt.Scale(scheme="blues", domain=[0, 3], clamp=True))
    boxes = base.mark_rect(stroke="white").encode(x2="end:Q", color=gain)
    ink = alt.condition("datum.gain > 1.8", alt.value("white"), alt.value("black"))
    words = base.mark_text(align="left", dx=1, fontSize=LETTER, font=MONOSPACE).encode(text="text:N", color=ink)
    return styled((boxes + words).properties(width=0.62 * LETTER * COLUMNS, height=26 * (line + 1)), "bottom")
