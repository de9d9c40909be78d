"""Charts of scores of words: texts of two topics, planted phrases, the better of two models, coloured texts."""

from __future__ import annotations

import altair as alt
import numpy as np
from scipy import stats

from winnow.evaluate.chart_parts import BLUE, SHARE, VERMILION, WIDE, Rows, data, grouped, mean_bands, some, styled

METHODS = {
    "cdt": "decomposition",
    "cdt_split": "decomposition, patterns split",
    "lime": "LIME",
    "lime_many": "LIME, more runs",
    "shap": "KernelSHAP",
    "shap_many": "KernelSHAP, more runs",
    "integrated_gradients": "integrated gradients",
    "leave_one_out": "leave one out",
    "attention": "attention",
    "random": "chance",
}
COLOURED = ("cdt", "lime", "shap", "integrated_gradients")


def _named(y: str = "by:N") -> alt.Y:
    return alt.Y(y, title=None, sort=list(METHODS.values()), axis=alt.Axis(labelLimit=260))


def _bars(bands: Rows, title: str, scale: alt.Scale, level: float) -> alt.LayerChart:
    base = alt.Chart(data(bands)).encode(y=_named())
    at = alt.Chart(data([{"mean": level}])).mark_rule(strokeDash=[8, 5], strokeWidth=2)
    marks = base.mark_point(filled=True, size=110, color=BLUE, opacity=1)
    spread = base.mark_rule(strokeWidth=3, color=BLUE, clip=True)
    x, low = alt.X("mean:Q", title=title, scale=scale), alt.X("low:Q", title=title)
    return alt.LayerChart(layer=[at.encode(x="mean:Q"), spread.encode(x=low, x2="high:Q"), marks.encode(x=x)])


def joined(rows: Rows) -> alt.LayerChart:
    """Mean chance that a word of the explained topic's half scores above one of the other: a line a method."""
    found = [row | {"value": row["auc"]} for row in some(rows, "joined texts")]
    means = [
        {"by": METHODS[method], "value": float(np.mean([row["value"] for row in mine]))}
        for (method, _), mine in grouped(found, ["method", "seed"]).items()
    ]
    title = "words of the topic above words of the other (AUC)"
    chart = _bars(mean_bands(means, ["by"], SHARE), title, alt.Scale(domain=[0.4, 1], clamp=True), 0.5)
    return styled(chart.properties(width=WIDE - 160, height=300))


def phrases(rows: Rows) -> alt.ConcatChart:
    """Score of the planted phrase by its effect, as one and as a sum of two words; a mark a text."""
    kept = [row for row in some(rows, "phrases") if row["method"] in ("cdt", "cdt_split", "leave_one_out")]
    panels = []
    for (method,), mine in grouped(kept, ["method"]).items():
        marks = [
            {"effect": row["effect"], "score": row[field], "scored": told}
            for row in mine
            for field, told in (("phrase", "as one"), ("sum", "sum of two words"))
        ]
        colour = alt.Color(
            "scored:N",
            title="phrase scored",
            scale=alt.Scale(domain=["as one", "sum of two words"], range=[BLUE, VERMILION]),
        )
        base = alt.Chart(data(marks)).mark_point(size=25, opacity=0.5).encode(
            x=alt.X("effect:Q", title="effect of planting it [logits]"),
            y=alt.Y("score:Q", title="score [logits]"),
            color=colour,
        )  # fmt: skip
        zero = alt.Chart(data([{"score": 0}])).mark_rule(strokeDash=[8, 5]).encode(y="score:Q")
        panels.append(alt.layer(zero, base).properties(width=WIDE / 3 - 40, height=260, title=METHODS[method]))
    return styled(alt.concat(*panels, columns=3), "bottom")


def user(rows: Rows) -> alt.LayerChart:
    """Share of texts by whose explanations the rule finds the better model; intervals are those of Wilson."""
    bands = []
    for (method,), mine in grouped(some(rows, "comparisons"), ["method"]).items():
        share = float(np.mean([row["better"] for row in mine]))
        bounds = stats.binomtest(round(share * len(mine)), len(mine)).proportion_ci(method="wilson")
        bands.append({"by": METHODS[method], "mean": share, "low": float(bounds.low), "high": float(bounds.high)})
    title = "texts whose explanations tell the better model"
    chart = _bars(bands, title, alt.Scale(domain=[0.3, 1], clamp=True), 0.5)
    return styled(chart.properties(width=WIDE - 160, height=300))


def words(rows: Rows, texts: int = 2) -> alt.ConcatChart:
    """Words of some texts, coloured by their score for one topic's logit above the other's: a row a method."""
    kept = [row for row in some(rows, "words") if row["method"] in COLOURED and row["text"] < texts]
    panels = []
    for mine in grouped(kept, ["text"]).values():
        marks = []
        for (method,), own in grouped(mine, ["method"]).items():
            largest = max(abs(row["score"]) for row in own) or 1.0
            marks += [row | {"by": METHODS[method], "share": row["score"] / largest} for row in own]
        base = alt.Chart(data(marks)).encode(x=alt.X("place:O", title=None, axis=None), y=_named())
        scale = alt.Scale(scheme="blueorange", domain=[-1, 1], reverse=True)
        tiles = base.mark_rect().encode(color=alt.Color("share:Q", title="score", scale=scale))
        first = [row | {"upper": row["word"]} for row in marks if row["by"] == marks[0]["by"]]
        told = alt.Chart(data(first)).mark_text(angle=300, align="left", fontSize=14).encode(
            x=alt.X("place:O", axis=None), y=alt.value(-6), text="upper:N"
        )  # fmt: skip
        title = alt.Title(f"{mine[0]['first']} above {mine[0]['second']}", offset=12)
        panels.append(alt.layer(tiles, told).properties(width=WIDE - 120, height=130, title=title))
    return styled(alt.concat(*panels, columns=1), "bottom")
