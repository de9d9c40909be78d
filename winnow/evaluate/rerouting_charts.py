"""Charts of rerouting: success by work, cosines by block, activations in a plane, detectors."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from winnow.evaluate.chart_parts import (
    HEIGHT,
    SHARE,
    WIDE,
    WIDTH,
    Rows,
    data,
    grouped,
    key_of,
    lines,
    mean_bands,
    some,
    styled,
)

SEARCHES = {
    "probe_first": "probe, first block",
    "probe_middle": "probe, middle block",
    "probe_both": "probes of both",
    "steering": "direction, middle block",
    "gcg": "answer, all blocks (GCG)",
}
WAYS = {
    "accepted": "accepted",
    "plain": "refused",
    "random": "drawn suffix",
    "rerouted": "rerouted",
    "steered": "steered",
}
DETECTORS = {
    "monitor": "probes at every position",
    "disagreement": "blocks disagree",
    "surprise": "surprising words",
    "distance": "distance from accepted",
}


def work(rows: Rows) -> alt.ConcatChart:
    """Share of prompts rerouted within so many blocks run: a panel a length of suffix, a line a search."""
    kept = [row | {"by": SEARCHES[row["objective"]]} for row in some(rows, "attacks") if row["objective"] in SEARCHES]
    key, panels = key_of("by", "loss of", kept), []
    for (slots,), mine in sorted(grouped(kept, ["slots"]).items()):
        values = []
        for (by, seed), own in grouped(mine, ["by", "seed"]).items():
            spent = np.array([row["layer_forwards"] if row["success"] else np.inf for row in own])
            values += [
                {"by": by, "seed": seed, "spent": float(at), "value": float((spent <= at).mean())}
                for at in np.geomspace(10, 4e4, 40).round()
            ]
        axis = alt.Axis(values=[10, 100, 1000, 10_000], format="~s")
        x = alt.X("spent:Q", title="blocks run on a sequence", scale=alt.Scale(type="log", nice=False), axis=axis)
        y = alt.Y("mean:Q", title="prompts rerouted (share)", scale=alt.Scale(domain=[0, 1]))
        bands = mean_bands(values, ["by", "spent"], SHARE)
        panels.append(
            lines(bands, x, y, key, markers=False).properties(width=WIDE / 3 - 20, height=300, title=f"{slots} tokens")
        )
    return styled(alt.concat(*panels, columns=3), "bottom")


def cosines(rows: Rows) -> alt.LayerChart:
    """Cosine of the stream with the direction of refusal after each block, for prompts moved in each way."""
    kept = [row for row in some(rows, "moved prompts") if row["prompt"] >= 0]
    means = [
        {"by": WAYS[way], "block": layer + 1, "seed": seed, "value": float(np.mean([row["cosine"] for row in own]))}
        for (way, layer, seed), own in grouped(kept, ["way", "layer", "seed"]).items()
        if way != "steered"
    ]
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    y = alt.Y("mean:Q", title="cosine with the direction of refusal")
    bands = mean_bands(means, ["by", "block"], (-1, 1))
    return styled(lines(bands, x, y, key_of("by", "prompts", bands)).properties(width=WIDTH, height=HEIGHT))


def plane(rows: Rows) -> Any:
    """Streams of the attacked block of one seed, in the plane of most variance of accepted and refused prompts."""
    kept = [row | {"by": WAYS[row["way"]]} for row in some(rows, "points")]
    key = key_of("by", "prompts", kept)
    points = (
        alt.Chart(data(kept))
        .mark_point(filled=True, size=55, opacity=0.75)
        .encode(
            x=alt.X("x:Q", title="first principal component"),
            y=alt.Y("y:Q", title="second principal component"),
            color=key.colour(),
            shape=key.shape(),
        )
    )
    return styled(points.properties(width=WIDTH, height=HEIGHT))


def detectors(rows: Rows) -> alt.LayerChart:
    """Share of rerouted prompts noticed by share of benign ones flagged, benign ones with drawn suffixes."""
    from sklearn.metrics import roc_curve

    values = []
    grid = np.linspace(0, 1, 51)
    for (name, seed), own in grouped(some(rows, "scores"), ["detector", "seed"]).items():
        false, true, _ = roc_curve([row["attack"] for row in own], [row["score"] for row in own])
        values += [
            {"by": DETECTORS[name], "seed": seed, "flagged": float(at), "value": float(np.interp(at, false, true))}
            for at in grid
        ]
    x = alt.X("flagged:Q", title="benign prompts flagged (share)", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("mean:Q", title="rerouted prompts noticed (share)", scale=alt.Scale(domain=[0, 1]))
    bands = mean_bands(values, ["by", "flagged"], SHARE)
    key = key_of("by", "detector", bands)
    return styled(lines(bands, x, y, key, markers=False).properties(width=WIDTH, height=HEIGHT))
