"""Charts of recommenders: who ranks best, by how much, for whom, and which items lie near each other."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    ORANGE,
    SKY,
    WIDE,
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

NAMES = {
    "popularity": "popularity",
    "markov": "Markov chain",
    "item_neighbours": "item neighbours",
    "recent_neighbours": "neighbours, recent first",
    "factorisation": "BPR factorisation",
    "ease": "EASE",
    "sasrec": "SASRec",
    "sasrec_bce": "SASRec, BCE",
    "gru4rec": "GRU4Rec",
}
DRAWN = 28
"""Letters of a title that are drawn."""


def named(arm: str) -> str:
    return NAMES.get(arm, arm)


def _per_user(metrics: pa.Table, variant: str) -> dict[tuple[str, int], float]:
    """(arm, user) -> gain on test, the mean over seeds."""
    found = [
        row
        for row in metrics.to_pylist()
        if (row["metric"], row["variant"], row["split"]) == ("user_ndcg10", variant, "test")
    ]
    groups = grouped(found, ["system", "step"])
    return {(str(arm), int(user)): sum(r["value"] for r in rows) / len(rows) for (arm, user), rows in groups.items()}


def arms(metrics: pa.Table, against: str) -> alt.HConcatChart:
    """NDCG@10 on test of each arm, and what `against` gains on each user over it.

    Histories are as they were, with events of equal time in another order, and shuffled. Intervals are over users, each
    of whom counts once, whatever the number of seeds.
    """
    variants = {"as it was": "plain", "ties in another order": "ties", "shuffled": "shuffled"}
    gains = {order: _per_user(metrics, variant) for order, variant in variants.items()}
    rows = [
        {"arm": named(arm), "history": order, "value": gain}
        for order, found in gains.items()
        for (arm, _), gain in found.items()
    ]
    bands = mean_bands(some(rows, "gains of users"), ["arm", "history"], (0.0, 1.0))
    as_it_was = [band for band in bands if band["history"] == "as it was"]
    order = [band["arm"] for band in sorted(as_it_was, key=lambda band: -band["mean"])]
    own = gains["as it was"]
    pairs = [
        {"arm": named(arm), "value": own[against, user] - gain}
        for (arm, user), gain in own.items()
        if arm != against and (against, user) in own
    ]
    left = _dots(bands, "NDCG@10 on test", order, True, "history")
    right = _dots(mean_bands(some(pairs, f"rivals of {against}"), ["arm"]), f"gained by {named(against)}", order, False)
    return styled(alt.hconcat(left, right, spacing=30), "bottom")


def _dots(bands: Rows, title: str, order: list[str], labelled: bool, field: str | None = None) -> alt.LayerChart:
    axis = alt.Axis(labelLimit=260) if labelled else alt.Axis(labels=False, ticks=False)
    y = alt.Y("arm:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=axis)
    colour: Any = alt.value(BLUE)
    if field is not None:
        scale = alt.Scale(domain=["as it was", "ties in another order", "shuffled"], range=[BLUE, SKY, ORANGE])
        colour = alt.Color(f"{field}:N", title=field, scale=scale)
    base = alt.Chart(data(bands)).encode(y=y, color=colour)
    if field is not None:
        base = base.encode(yOffset=alt.YOffset(f"{field}:N", scale=alt.Scale(paddingOuter=1)))
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("mean:Q", title=title)),
    ]
    if field is None:
        layers.append(alt.Chart(data([{"mean": 0}])).mark_rule(strokeDash=[8, 5]).encode(x="mean:Q"))
    return alt.LayerChart(layer=layers).properties(width=WIDE / 2 - 60, height=max(180, 34 * len(order)))


def curves(histories: pa.Table) -> alt.LayerChart:
    """NDCG@10 on valid after each epoch of the trained models: means and 95 % intervals over seeds.

    histories: rows of metrics of their training, with steps.
    """
    found = [row for row in histories.to_pylist() if row["metric"] == "valid_ndcg10"]
    rows = []
    for (arm, _), mine in grouped(some(found, "valid_ndcg10 of epochs"), ["variant", "seed"]).items():
        ordered = sorted(mine, key=lambda row: row["step"])
        rows += [{"arm": named(arm), "epoch": i, "value": row["value"]} for i, row in enumerate(ordered, 1)]
    bands = mean_bands(rows, ["arm", "epoch"], (0.0, 1.0))
    y = alt.Y("mean:Q", title="NDCG@10 on valid")
    drawn = lines(bands, alt.X("epoch:Q", title="epoch"), y, key_of("arm", "recommender", rows), markers=False)
    return styled(drawn.properties(width=WIDE / 2, height=HEIGHT), "bottom")


def strata(metrics: pa.Table) -> alt.HConcatChart:
    """NDCG@10 on test by the length of a user's history, and by how often the target was taken in training."""
    titles = {"history": "events before the target", "popularity": "how often the target was taken"}
    rows = []
    for row in metric_values(metrics, "ndcg10"):
        what, _, part = row["variant"].partition(" ")
        if what in titles:
            rows.append(row | {"arm": named(row["system"]), "what": what, "part": part})
    some(rows, "parts of the users")
    key = key_of("arm", "recommender", rows)
    panels: list[Any] = []
    for what, title in titles.items():
        mine = [row for row in rows if row["what"] == what]
        parts = sorted({row["part"] for row in mine}, key=lambda part: float(part.partition(" ")[0]))
        x = alt.X("part:N", title=title, sort=parts, axis=alt.Axis(labelAngle=0))
        y = alt.Y("mean:Q", title=None if panels else "NDCG@10 on test")
        bands = mean_bands(mine, ["arm", "part"], (0.0, 1.0))
        panels.append(lines(bands, x, y, key, bars=True).properties(width=WIDE / 2, height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30), "bottom")


def nearest(table: pa.Table) -> alt.LayerChart:
    """The items nearest by embeddings to those taken most: a row an item, from near to far."""
    rows = [
        row | {"title": row["title"][:DRAWN], "near": row["near"][:DRAWN]}
        for row in some(table.to_pylist(), "neighbours")
    ]
    order = list(dict.fromkeys(row["title"] for row in rows))
    places = len({row["rank"] for row in rows})
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("title:N", title=None, sort=order, axis=alt.Axis(labelLimit=300)),
        x=alt.X("rank:O", title="nearest item", axis=alt.Axis(labelAngle=0)),
    )
    lowest = min(row["cosine"] for row in rows)
    # From the lowest on, as those shown are all near 1 and would look alike.
    scale = alt.Scale(range=["white", SKY], domain=[lowest, 1])
    tiles = base.mark_rect().encode(color=alt.Color("cosine:Q", title="cosine", scale=scale))
    words = base.mark_text(fontSize=12).encode(text="near:N")
    return styled((tiles + words).properties(width=190 * places, height=44 * len(order)))
