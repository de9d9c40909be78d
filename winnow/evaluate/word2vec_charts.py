"""Charts of the search for word2vec's settings: best score so far, what is drawn round by round, every trial."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from winnow.curate.cross_entropy import Choice
from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    HEIGHT,
    ORANGE,
    WIDE,
    WIDTH,
    Rows,
    data,
    key_of,
    lines,
    mean_bands,
    some,
    styled,
)
from winnow.evaluate.word2vec_study import SPACE

SCORE = "missing words among ten (share)"


def anytime(tables: list[Rows]) -> alt.LayerChart:
    """Best score on valid after each trial, mean over seeds, a line a method."""
    rows = []
    for table in tables:
        best: dict[str, float] = {}
        for row in some(table, "trials"):
            best[row["method"]] = max(best.get(row["method"], 0.0), float(np.nan_to_num(row["score"])))
            rows.append(
                {"method": row["method"].replace("_", " "), "trial": row["trial"] + 1, "value": best[row["method"]]}
            )
    bands = mean_bands(rows, ["method", "trial"])
    x, y = alt.X("trial:Q", title="trials"), alt.Y("mean:Q", title=SCORE, scale=alt.Scale(zero=False))
    chart = lines(bands, x, y, key_of("method", "method", bands), markers=False)
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def law(laws: list[dict[str, Any]]) -> alt.HConcatChart:
    """The law of each setting round by round: mean and deviation of numbers, shares of choices."""
    panels = []
    for each in SPACE:
        told = [(law["round"] + 1, law["law"][each.name]) for law in some(laws, "laws")]
        x = alt.X("round:O", title="round")
        if isinstance(each, Choice):
            rows = [
                {"round": r, "value": str(v), "share": found[str(v)]} for r, found in told for v in each.values
            ]  # fmt: skip
            chart = alt.Chart(data(rows)).mark_rect().encode(
                x=x,
                y=alt.Y("value:N", title=each.name, sort=[str(v) for v in each.values]),
                color=alt.Color("share:Q", title="share", scale=alt.Scale(scheme="blues", domain=[0, 1])),
            )  # fmt: skip
        else:
            scale = np.exp if each.log else np.asarray
            low, high = each.bounds
            rows = [
                {
                    "round": r,
                    "mean": float(scale(found["mean"])),
                    "low": float(scale(max(low, found["mean"] - found["deviation"]))),
                    "high": float(scale(min(high, found["mean"] + found["deviation"]))),
                }
                for r, found in told
            ]
            y = alt.Y("mean:Q", title=each.name, scale=alt.Scale(type="log" if each.log else "linear", zero=False))
            base = alt.Chart(data(rows)).encode(x=x)
            spread = base.mark_rule(strokeWidth=3, color=BLUE).encode(y=alt.Y("low:Q", title=each.name), y2="high:Q")
            chart = spread + base.mark_point(filled=True, size=80, color=BLUE, opacity=1).encode(y=y)
        panels.append(chart.properties(width=WIDE / 4 - 40, height=160))
    return styled(alt.concat(*panels, columns=4), "bottom")


def every_trial(trials: Rows, laws: list[dict[str, Any]]) -> alt.LayerChart:
    """Score of each trial of the cross-entropy method in order, its elite, and the threshold of each round."""
    own = [row for row in some(trials, "trials") if row["method"] == "cross_entropy" and np.isfinite(row["score"])]
    rows = [
        {"trial": row["trial"] + 1, "score": row["score"], "what": "elite" if row["elite"] else "others"} for row in own
    ]
    per_round = (max(row["trial"] for row in trials) + 1) // len(laws)
    steps = [
        {"from": law["round"] * per_round + 0.5, "to": (law["round"] + 1) * per_round + 0.5, "score": law["threshold"]}
        for law in laws
    ]
    colour = alt.Color("what:N", title=None, scale=alt.Scale(domain=["elite", "others"], range=[BLUE, ORANGE]))
    points = alt.Chart(data(rows)).mark_point(filled=True, size=80, opacity=0.8).encode(
        x=alt.X("trial:Q", title="trial"), y=alt.Y("score:Q", title=SCORE), color=colour
    )  # fmt: skip
    threshold = alt.Chart(data(steps)).mark_rule(color=BLACK, strokeWidth=2).encode(
        x=alt.X("from:Q", title="trial"), x2="to:Q", y="score:Q"
    )  # fmt: skip
    return styled((points + threshold).properties(width=WIDTH, height=HEIGHT))
