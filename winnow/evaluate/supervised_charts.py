"""Charts of dictionaries on a task that is known: three axes, edits by their size, and two toys."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    WIDE,
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

NAMES = {
    "supervised_mse": "supervised, least squares",
    "supervised_mean": "supervised, means",
    "supervised_joint": "supervised, with order",
    "supervised_names": "supervised, no roles",
    "sae_topk": "TopK",
    "sae_batchtopk": "BatchTopK",
    "sae_relu_l1": "ReLU, L1",
    "sae_gated": "gated",
    "sae_attribution": "ReLU, L1 by attribution",
    "sae_attribution_explained": "L1 by attribution, whole",
    "sae_general": "TopK, other texts",
    "components": "principal components",
    "random": "random directions",
}
ATTRIBUTES = {
    "indirect": "name that comes, in outputs",
    "subject": "name said again, in queries",
    "order": "order of the names, in queries",
}
WORDS = {"indirect": "name that comes", "subject": "name said again", "order": "order"}
SHOWN = 48


def axes(metrics: pa.Table) -> alt.HConcatChart:
    """Of each dictionary: logit difference recovered, edits of one feature that work, names that are told."""
    edits = [row for row in _best_edits(metrics) if row["attribute"] == "indirect" and row["size"] == 1]
    recovered = [row for row in metric_values(metrics, "recovered") if row["variant"] == "all"]
    panels = [
        (["logit difference", "recovered"], recovered, 1.0),
        (["names changed,", "one feature each way"], edits, None),
        (["names to come that", "some feature tells"], metric_values(metrics, "values_told_indirect"), None),
    ]
    drawn = [_dots(some(rows, " ".join(title)), title, i == 0, top) for i, (title, rows, top) in enumerate(panels)]
    return styled(alt.hconcat(*drawn))


def _dots(rows: Rows, title: list[str], named: bool, target: float | None) -> alt.LayerChart:
    known = [row | {"dictionary": NAMES[row["system"]]} for row in rows if row["system"] in NAMES]
    bands = mean_bands(known, ["dictionary"], (0.0, 1.0) if target is None else (-np.inf, np.inf))
    axis = alt.Axis(labelLimit=260) if named else None
    y = alt.Y(
        "dictionary:N", title=None, sort=list(NAMES.values()), scale=alt.Scale(domain=list(NAMES.values())), axis=axis
    )
    low = min(0.0, *(band["low"] for band in bands))
    scale = alt.Scale(domain=[low, max(1.0, *(band["high"] for band in bands))])
    x = alt.X("mean:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4))
    base = alt.Chart(data(bands)).encode(y=y)
    layers = [
        base.mark_rule(strokeWidth=2, color=BLUE).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1, color=BLUE).encode(x=x),
    ]
    if target is not None:
        layers.append(alt.Chart(data([{"mean": target}])).mark_rule(strokeDash=[8, 5]).encode(x="mean:Q"))
    return alt.LayerChart(layer=layers).properties(width=WIDE / 3, height=HEIGHT)


def _best_edits(metrics: pa.Table) -> Rows:
    """Edits of each dictionary, attribute, size and seed, by the way of choosing features that does best."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in metric_values(metrics, "edit_accuracy"):
        name, size, *_ = row["variant"].split("-")
        key = (row["system"], row["seed"], name, size)
        if row["system"] in NAMES and (key not in best or row["value"] > best[key]["value"]):
            best[key] = row | {"attribute": name, "size": int(size), "dictionary": NAMES[row["system"]]}
    return list(best.values())


def edits(metrics: pa.Table) -> alt.HConcatChart:
    """Share of edits that work by the features taken out and put in, of each attribute; the ceiling is dashed.

    Of two ways of choosing features the better is drawn, and attributes without edits are left out.
    """
    rows = some(_best_edits(metrics), "edits")
    bands = mean_bands(rows, ["attribute", "dictionary", "size"], (0.0, 1.0))
    key = key_of(
        "dictionary", "dictionary", [band for name in NAMES.values() for band in bands if band["dictionary"] == name]
    )
    ceiling = mean_bands(
        [row for row in metric_values(metrics, "edit_accuracy") if row["system"] == "ceiling"], ["variant"]
    )
    panels: list[Any] = []
    for name, title in ATTRIBUTES.items():
        own = [band for band in bands if band["attribute"] == name]
        if not own:
            continue
        sizes = sorted({band["size"] for band in own})
        scale = alt.Scale(type="log", nice=False, padding=14)
        x = alt.X("size:Q", title="features each way (log scale)", scale=scale, axis=alt.Axis(values=sizes))
        # Without nice=False a ceiling would stretch its own panel's axis alone.
        span = alt.Scale(domain=[0, 1.05], nice=False)
        y = alt.Y("mean:Q", title=None if panels else "edits that work", scale=span)
        top = [level(band["mean"], "ceiling", WIDE / 3) for band in ceiling if band["variant"] == f"{name}-1"]
        chart = alt.layer(lines(own, x, y, key), *(layer for part in top for layer in part))
        panels.append(chart.properties(width=WIDE / 3, height=HEIGHT, title=title))
    return styled(alt.hconcat(*panels), "bottom")


def toys(metrics: pa.Table) -> alt.HConcatChart:
    """F1 of the larger and the smaller of two attributes by their ratio; features specific to a class by width."""
    rows = [
        row | {"attribute": what, "ratio": float(row["variant"][1:])}
        for what in ("larger", "smaller")
        for row in some(metric_values(metrics, what), "toys")
    ]
    bands = mean_bands(rows, ["attribute", "ratio"], (0.0, 1.0))
    x = alt.X("ratio:Q", title="length of the smaller attribute, of the larger", scale=alt.Scale(zero=False))
    y = alt.Y("mean:Q", title="best F1 of a value, mean", scale=alt.Scale(domain=[0, 1]))
    left = lines(bands, x, y, key_of("attribute", "attribute", bands)).properties(width=WIDE / 2, height=HEIGHT)
    split = [
        row | {"width": int(row["variant"][1:]), "what": "autoencoder"} for row in metric_values(metrics, "specific")
    ]
    found = mean_bands(split, ["what", "width"], (0.0, float("inf")))
    wide = alt.X(
        "width:Q",
        title="features (log scale)",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(values=sorted({b["width"] for b in found})),
    )
    count = alt.Y("mean:Q", title="features specific to a class")
    right = lines(found, wide, count, key_of("what", "", found)).properties(width=WIDE / 2, height=HEIGHT)
    return styled(alt.hconcat(left, right).resolve_scale(color="independent", shape="independent"), "bottom")


def levels(metrics: pa.Table) -> alt.LayerChart:
    """Features of a node that tell a union of values at least so well, by F1, of each dictionary."""
    rows = [
        row | {"level": float(row["variant"].removeprefix("f1-")), "dictionary": NAMES[row["system"]]}
        for row in some(metric_values(metrics, "clear_features"), "clear features")
    ]
    bands = mean_bands(rows, ["dictionary", "level"], (0.0, float("inf")))
    x = alt.X("level:Q", title="F1 on other prompts, at least", scale=alt.Scale(zero=False))
    y = alt.Y("mean:Q", title="features of a head, mean")
    drawn = lines(bands, x, y, key_of("dictionary", "dictionary", bands))
    return styled(drawn.properties(width=WIDE / 2, height=HEIGHT))


def told(rows: Rows) -> alt.HConcatChart:
    """F1 of each feature of a head for each value of the attributes: the features that tell a value best, by it."""
    best: dict[int, dict[str, Any]] = {}
    for row in some(rows, "features"):
        if row["feature"] not in best or row["f1"] > best[row["feature"]]["f1"]:
            best[row["feature"]] = row
    shown = sorted(best.values(), key=lambda row: -row["f1"])[:SHOWN]
    order = [
        row["feature"] for row in sorted(shown, key=lambda row: (list(WORDS).index(row["attribute"]), row["value"]))
    ]
    panels: list[Any] = []
    for name, title in WORDS.items():
        own = [row for row in rows if row["attribute"] == name and row["feature"] in order]
        scale = alt.Scale(scheme="blues", domain=[0, 1])
        chart = alt.Chart(data(own)).mark_rect().encode(
            x=alt.X("value:O", title=title, axis=alt.Axis(labels=False, ticks=False)),
            y=alt.Y("feature:O", title=None if panels else f"features of head {shown[0]['node']}", sort=order,
                    scale=alt.Scale(domain=order), axis=alt.Axis(labels=False, ticks=False)),
            color=alt.Color("f1:Q", title="F1", scale=scale),
        )  # fmt: skip
        panels.append(chart.properties(width=40 if name == "order" else WIDE / 3, height=HEIGHT))
    return styled(alt.hconcat(*panels))
