"""Charts of recourse under deletion: what outlives it, at what cost, how far influence is off, what has to change."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    GREY,
    HEIGHT,
    SHARE,
    WIDE,
    WIDTH,
    Rows,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)

ARMS = {
    "plain": "plain",
    "wider": "plain, as far as refit cuts",
    "published": "as published",
    "iterative": "first order, exact",
    "refit": "refit cuts",
    "strongest": "refit cuts, both adversaries",
    "roar_0.1": "ROAR",
    "cchvae": "C-CHVAE",
}
"""System -> its name in pictures; other arms are left out."""
FEW = ("plain", "published", "refit", "roar_0.1", "cchvae")
"""Arms of the picture that has a bar for each feature."""
LARGEST = 8
"""Features that the table of changes shows."""


def _arm_rows(metrics: pa.Table, metric: str) -> Rows:
    rows = metric_values(metrics, metric)
    known = [row for row in rows if row["system"] in ARMS]
    return [row | {"arm": ARMS[row["system"]], "budget": float(row["variant"].removeprefix("b"))} for row in known]


def validity(metrics: pa.Table) -> alt.HConcatChart:
    """Share of recourses that hold, over the rows erased, a line with a band per arm, a panel per adversary."""
    titles = {"validity_worst": "the worst rows erased", "validity_greedy": "greedily", "validity_random": "at random"}
    found = {metric: some(_arm_rows(metrics, metric), metric) for metric in titles}
    key = key_of("arm", "recourse", [row for rows in found.values() for row in rows])
    panels: list[Any] = []
    for metric, rows in found.items():
        series = mean_bands(rows, ["arm", "budget"], SHARE)
        x = alt.X("budget:Q", title="training rows erased (%)", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4))
        y = alt.Y("mean:Q", title=None if panels else "recourses that hold (share)", scale=alt.Scale(domain=[0, 1]))
        panels.append(lines(series, x, y, key).properties(title=titles[metric], width=WIDE / 3, height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def front(metrics: pa.Table) -> alt.HConcatChart:
    """Validity under the worst erasure over the cost, a point per arm, a panel per budget; up and left is better."""
    costs = {(r["system"], r["variant"], r["seed"]): r["value"] for r in metric_values(metrics, "cost_ratio")}
    rows = [
        row | {"cost": costs[row["system"], row["variant"], row["seed"]]}
        for row in _arm_rows(metrics, "validity_worst")
        if (row["system"], row["variant"], row["seed"]) in costs
    ]
    rows = some(rows, "validity_worst and cost_ratio")
    key = key_of("arm", "recourse", rows)
    panels: list[Any] = []
    budgets = sorted({row["budget"] for row in rows})
    # Vega would number 2, 3, 4, 20, 30, 40 too, one over the other in a narrow panel.
    ticks = alt.Axis(values=[1, 3, 10, 30, 100, 300, 1000])
    for budget in budgets:
        mine = [row for row in rows if row["budget"] == budget]
        base = alt.Chart(data(mine)).encode(
            x=alt.X("cost:Q", title="cost over plain", scale=alt.Scale(type="log", zero=False), axis=ticks),
            y=alt.Y("value:Q", title=None if panels else "recourses that hold (share)", scale=alt.Scale(domain=[0, 1])),
            color=key.colour(),
            shape=key.shape(),
        )
        panel = base.mark_point(filled=True, size=110, opacity=0.8)
        panels.append(panel.properties(title=f"{budget:g} % erased", width=WIDE / len(budgets), height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def influence_error(errors: pa.Table) -> alt.LayerChart:
    """True fall of the output at plain recourses over the fall that influence predicts; equal on the grey diagonal.

    errors: columns budget [share], predicted, true [logits].
    """
    rows = some([r | {"erased": f"{100 * r['budget']:g} %"} for r in errors.to_pylist()], "influence errors")
    key = key_of("erased", "rows erased", rows)
    limit = max(max(row["predicted"], row["true"]) for row in rows)
    axis = alt.Scale(domain=[0, limit], nice=True)
    points = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=60, opacity=0.7)
        .encode(
            x=alt.X("predicted:Q", title="predicted fall of the output (logits)", scale=axis),
            y=alt.Y("true:Q", title="true fall after the refit (logits)", scale=axis),
            color=key.colour(),
            shape=key.shape(),
        )
    )
    diagonal = alt.Chart(data([{"predicted": 0.0, "true": 0.0}, {"predicted": limit, "true": limit}]))
    ideal = diagonal.mark_line(color=GREY, strokeDash=[6, 4]).encode(x="predicted:Q", y="true:Q")
    return styled((ideal + points).properties(width=HEIGHT, height=HEIGHT))


def changes(points: pa.Table) -> alt.LayerChart:
    """What the recourses of one row change: a bar per feature and arm, in standard deviations, labelled with values.

    points: columns row_id, arm, budget, feature, before, after, change, of which the first row_id and the largest
    budget count; the features that change most are shown.
    """
    rows = some(points.to_pylist(), "points")
    budgets = max(row["budget"] for row in rows)
    mine = [r for r in rows if r["row_id"] == rows[0]["row_id"] and r["arm"] in FEW and r["budget"] in (0, budgets)]
    mine = [row for row in mine if row["change"] is not None]
    by_feature: dict[str, float] = {}
    for row in mine:
        by_feature[row["feature"]] = max(by_feature.get(row["feature"], 0.0), abs(row["change"]))
    order = sorted(by_feature, key=lambda name: -by_feature[name])[:LARGEST]
    shown = [
        row | {"name": ARMS[row["arm"]], "label": f"{row['before']:.3g} to {row['after']:.3g}"}
        for row in mine
        if row["feature"] in order
    ]
    key = key_of("name", "recourse", some(shown, "changes"))
    arms = len(key.names)
    base = alt.Chart(data(shown)).encode(
        y=alt.Y("feature:N", title=None, sort=order),
        yOffset=alt.YOffset("name:N", sort=key.names),
        x=alt.X("change:Q", title="change (standard deviations)"),
    )
    bars = base.mark_bar().encode(color=key.colour())
    text = base.mark_text(align="left", dx=4, fontSize=10).encode(text="label:N", x=alt.value(WIDTH + 8))
    return styled((bars + text).properties(width=WIDTH, height=max(200, 14 * arms * len(order))), legend="bottom")
