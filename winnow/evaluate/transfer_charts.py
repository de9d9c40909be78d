"""Charts of classifiers of unbalanced images: mean F1 of every arm, and a confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    SHARE,
    Key,
    Rows,
    data,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.train.class_scores import confusion as confused

BALANCES = {"none": "none", "weights": "class weights", "over": "over-sampling", "under": "under-sampling"}
NAMES = {"small_cnn": "from scratch", "transfer": "from ImageNet"}
SHOWN = ("transfer", "stratified-weights")
"""System and arm of which the confusion is drawn."""
CELL = 62


def arms(metrics: pa.Table) -> alt.TopLevelMixin:
    """Mean F1 of every balance, a panel for each way to draw, with intervals over seeds."""
    rows: Rows = []
    for row in metric_values(metrics, "macro_f1"):
        draw, _, balance = row["variant"].partition("-")
        rows.append(row | {"draw": draw, "balance": BALANCES[balance], "network": NAMES[row["system"]]})
    bands = mean_bands(some(rows, "macro_f1"), ["draw", "balance", "network"], SHARE)
    key = Key("network", "network", list(NAMES.values()))
    panels: list[Any] = []
    for draw in dict.fromkeys(row["draw"] for row in bands):
        base = alt.Chart(data([row for row in bands if row["draw"] == draw])).encode(
            x=alt.X("balance:N", title="balanced by", sort=list(BALANCES.values()), axis=alt.Axis(labelAngle=-25)),
            xOffset=alt.XOffset("network:N", sort=key.names),
            color=key.colour(),
        )
        title = None if panels else "mean F1 over classes"
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=[0, 1]))
        spread = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
        points = base.mark_point(filled=True, size=90, opacity=1).encode(y=y, shape=key.shape())
        panels.append((spread + points).properties(width=330, height=HEIGHT, title=f"drawn {_by(draw)}"))
    return styled(alt.hconcat(*panels, spacing=20), "bottom")


def _by(draw: str) -> str:
    return "at random" if draw == "random" else "class by class"


def confusion(classification: pa.Table, classes: Sequence[str]) -> alt.TopLevelMixin:
    """Heat map of shares of each true class, with the numbers of images, of the arm SHOWN.

    classification: columns system, arm, label, predicted.
    """
    own = [r for r in classification.to_pylist() if (r["system"], r["arm"]) == SHOWN]
    labels, said = (np.array([row[name] for row in some(own, "confusion")]) for name in ("label", "predicted"))
    table = confused(labels, said, len(classes))
    rows = [
        {
            "true": str(classes[i]),
            "taken": str(classes[j]),
            "images": int(n),
            "share": float(n / max(table[i].sum(), 1)),
        }
        for i, line in enumerate(table)
        for j, n in enumerate(line)
    ]
    names = [str(name) for name in classes]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("taken:N", title="taken for", sort=names, axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("true:N", title="class", sort=names),
    )
    scale = alt.Scale(domain=[0, 1], range=["#FFFFFF", BLUE], interpolate="rgb")
    colour = alt.Color("share:Q", title="share", scale=scale)
    text = base.mark_text(fontSize=16).encode(
        text="images:Q", color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("black"))
    )
    chart = base.mark_rect(stroke="#E5E5E5").encode(color=colour) + text
    return styled(chart.properties(width=CELL * len(names), height=CELL * len(names)))
