"""Charts of BEE: scores over draws, families that bandits draw, and the price of choosing by one metric."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.bee import FAMILIES
from winnow.evaluate.chart_parts import HEIGHT, WIDE, WIDTH, Key, data, grouped, mean_bands, metric_values, some, styled

METHODS = {
    "bee_finetuned": "BEE, fine-tuned",
    "bee_pretrained": "BEE, pre-trained",
    "uniform": "uniform mixture",
    "best_family": "best single family",
    "best_explainer": "best without a choice",
}
BLOCKS = 10  # of the draws of a bandit, in order
ONE_DRAW = ("grad_cam", "layer_cam", "integrated_gradients", "smooth_grad")


def scores_by_draws(metrics: pa.Table) -> alt.ConcatChart:
    """Quality over the number of draws, a panel a metric; of families and explainers the best in the mean."""
    rows = []
    for row in metric_values(metrics, "quality"):
        metric, found, draws = row["variant"].rpartition("-t")
        if found:
            rows.append(row | {"metric": metric, "draws": int(draws), "method": row["system"]})
    last = max(row["draws"] for row in some(rows, "scores over draws"))
    made = sorted({row["draws"] for row in rows})
    panels: list[Any] = []
    names = list(dict.fromkeys(row["metric"] for row in rows))
    for metric in names:
        of = [row for row in rows if row["metric"] == metric]
        family = _best([r for r in of if r["method"].startswith("family_") and r["draws"] == last])
        single = _best([r for r in of if r["method"] in ONE_DRAW])
        renamed = {family: "best_family", single: "best_explainer"}
        kept = [
            r | {"method": METHODS[renamed.get(str(r["method"]), str(r["method"]))]} for r in of if _shown(r, renamed)
        ]
        kept += [r | {"draws": last} for r in kept if r["method"] == METHODS["best_explainer"]]
        key = Key("method", "method", list(METHODS.values()))
        base = alt.Chart(data(mean_bands(kept, ["method", "draws"]))).encode(
            x=alt.X("draws:Q", title="draws", axis=alt.Axis(values=made), scale=alt.Scale(type="log")),
            y=alt.Y("mean:Q", title=metric, scale=alt.Scale(zero=False)),
            color=key.colour(),
        )
        chart = base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=60).encode(shape=key.shape())
        panels.append(chart.properties(width=WIDE / 2 - 100, height=HEIGHT / 2))
    return styled(alt.concat(*panels, columns=2), legend="bottom")


def _shown(row: dict[str, Any], renamed: dict[str, str]) -> bool:
    return row["method"] in renamed or row["method"] in METHODS


def _best(rows: list[dict[str, Any]]) -> str:
    means = {method: np.mean([r["value"] for r in of]) for (method,), of in grouped(rows, ["method"]).items()}
    return max(means, key=lambda method: means[method]) if means else ""


def arm_shares(arms: pa.Table) -> alt.Chart:
    """Shares of the families over the draws of pre-training, a panel a metric.

    arms: columns phase, metric, draw, arm; of all seeds together.
    """
    rows = [row for row in arms.to_pylist() if row["phase"] == "pretraining"]
    length = 1 + max(row["draw"] for row in some(rows, "draws of pre-training"))
    shares = []
    for (metric, block), of in grouped(
        [r | {"block": r["draw"] * BLOCKS // length} for r in rows], ["metric", "block"]
    ).items():
        for arm, family in enumerate(FAMILIES):
            share = float(np.mean([r["arm"] == arm for r in of]))
            shares.append({"metric": metric, "seen": 100 * (block + 1) / BLOCKS, "family": family, "share": share})
    chart = alt.Chart(data(shares)).mark_line(strokeWidth=2)
    chart = chart.encode(
        x=alt.X("seen:Q", title="pre-training done (%)"),
        y=alt.Y("share:Q", title="share of draws"),
        color=Key("family", "family", list(FAMILIES)).colour(),
        facet=alt.Facet("metric:N", columns=2, title=None, header=alt.Header(labelFontSize=16)),
    )
    return styled(chart.properties(width=WIDE / 2 - 100, height=HEIGHT / 2), legend="bottom")


def crossed_metrics(metrics: pa.Table) -> alt.LayerChart:
    """Score by the metric in the column of the maps that the metric in the row chose, means over seeds."""
    rows = [r for r in metric_values(metrics, "score") if r["system"].startswith("chosen_by_")]
    rows = [r | {"chosen": r["system"].removeprefix("chosen_by_")} for r in some(rows, "crossed metrics")]
    names = list(dict.fromkeys(row["variant"] for row in rows))
    cells = mean_bands(rows, ["chosen", "variant"])
    for name in names:
        # Shades within a column: columns have scales of their own.
        column = [cell for cell in cells if cell["variant"] == name]
        low, high = min(c["mean"] for c in column), max(c["mean"] for c in column)
        for cell in column:
            cell["shade"] = 0.5 if high == low else (cell["mean"] - low) / (high - low)
    base = alt.Chart(data(cells)).encode(
        x=alt.X("variant:N", title="scored by", sort=names, axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("chosen:N", title="chosen by", sort=names),
    )
    boxes = base.mark_rect().encode(color=alt.Color("shade:Q", legend=None, scale=alt.Scale(scheme="blues")))
    text = base.mark_text(fontSize=15).encode(
        text=alt.Text("mean:Q", format=".3f"),
        color=alt.condition("datum.shade > 0.6", alt.value("white"), alt.value("black")),
    )
    return styled((boxes + text).properties(width=WIDTH, height=HEIGHT))
