"""Charts of circuits: how faithful the best nodes are, where they lie, how scores tell effects, who reads whom."""

from __future__ import annotations

from typing import Any

import altair as alt

from winnow.evaluate.chart_parts import (
    BLUE,
    GREY,
    SKY,
    WIDE,
    Rows,
    data,
    grouped,
    key_of,
    lines,
    mean_bands,
    some,
    styled,
)
from winnow.evaluate.circuit_picture import picture

METHODS = {
    "cdt": "decomposition",
    "cdt_split": "decomposition, patterns split",
    "cdt_rounds": "decomposition in rounds",
    "path": "path patching",
    "path_direct": "path patching, direct",
    "activation": "activation patching",
    "attribution": "attribution patching",
    "random": "chance",
    "outliers": "outliers of all rounds",
    "pruned": "outliers, pruned",
}
UNSIZED = {"outliers", "pruned"}
"""Their circuits are as large as they come."""
MANY = 10
"""Positions up to which each is told under a map."""
TASKS = {"names0": "indirect object", "names1": "indirect object, frame 2", "years": "later year"}


def faithfulness(rows: Rows) -> alt.ConcatChart:
    """Faithfulness, capped at 1, by size (a mean where it is not given): a panel a task, a line a method."""
    kept = [
        row | {"by": METHODS[row["method"]], "value": min(1.0, row["faithfulness"])}
        for row in some(rows, "circuits")
        if row["method"] in METHODS
    ]
    unsized = [row for row in kept if row["method"] in UNSIZED]
    kept = [row for row in kept if row["method"] not in UNSIZED]
    for mine in grouped(unsized, ["task", "method"]).values():
        size = sum(row["size"] for row in mine) / len(mine)
        kept += [row | {"size": size} for row in mine if size]
    key = key_of("by", "nodes by", mean_bands(kept, ["by"]))
    panels: list[Any] = []
    for (task,), mine in grouped(kept, ["task"]).items():
        bands = mean_bands(mine, ["by", "size"], (-1, 1))
        # Only powers of two are told: labels of more sizes touch in a narrow panel.
        ticks = alt.Axis(values=[2**power for power in range(16)], format="d")
        scale = alt.Scale(type="log", nice=False, padding=10)
        x = alt.X("size:Q", title="heads at positions kept", scale=scale, axis=ticks)
        y = alt.Y("mean:Q", title="faithfulness", scale=alt.Scale(domain=[-0.25, 1], clamp=True))
        panels.append(lines(bands, x, y, key).properties(width=WIDE / 3 - 30, height=300, title=TASKS.get(task, task)))
    return styled(alt.concat(*panels, columns=3), "bottom")


def node_map(rows: Rows, circuit: Rows) -> alt.ConcatChart:
    """Score of each head at each position beside its measured effect, of the first task."""
    kept = [row for row in some(rows, "nodes") if row["method"] == "cdt" and row["task"] == circuit[0]["task"]]
    panels = []
    for field, title in (("score", "by decomposition"), ("effect", "taken away")):
        found = [row | {"value": row[field], "head": f"{row['layer']}.{row['head']}"} for row in kept]
        means = mean_bands(found, ["head", "position"])
        last = max(row["position"] for row in means)
        told = list(range(0, last + 1, 1 + last // MANY))
        limit = max(abs(row["mean"]) for row in means) or 1.0
        scale = alt.Scale(scheme="blueorange", domain=[-limit, limit])
        chart = alt.Chart(data(means)).mark_rect().encode(
            x=alt.X("position:O", title="position", axis=alt.Axis(labelAngle=0, values=told)),
            y=alt.Y("head:O", title="layer.head"),
            color=alt.Color("mean:Q", title="logits", scale=scale),
        )  # fmt: skip
        panels.append(chart.properties(width=WIDE / 2 - 90, height=230, title=title))
    return styled(alt.concat(*panels, columns=2).resolve_scale(color="independent"))


def effects(rows: Rows) -> alt.ConcatChart:
    """Scores on some prompts beside measured effects on others: a panel a method, a mark a node."""
    panels = []
    for method in ("cdt", "cdt_split", "cdt_clean_signs", "attribution"):
        kept = [row for row in some(rows, "nodes") if row["method"] == method and row["task"].startswith("names")]
        title = METHODS.get(method, "decomposition, signs cleaned")
        marks = alt.Chart(data(kept)).mark_point(size=25, opacity=0.5, color=BLUE).encode(
            x=alt.X("score:Q", title="score [logits]"), y=alt.Y("effect:Q", title=["drop where taken", "away [logits]"])
        )  # fmt: skip
        panels.append(marks.properties(width=WIDE / 2 - 70, height=220, title=title))
    return styled(alt.concat(*panels, columns=2))


def circuit(rows: Rows, least: float = 0.1) -> alt.LayerChart:
    """The best nodes of the first task, words from left to right and layers from below; lines where one feeds another.

    least: smallest share of what a node differs by that is drawn as a line.
    """
    mine = [row for row in some(rows, "nodes") if (row["task"], row["seed"]) == (rows[0]["task"], rows[0]["seed"])]
    found = sorted((row for row in mine if not row["to"]), key=lambda row: (row["position"], row["layer"], row["head"]))
    nodes = [
        {"node": row["from"], "label": row["from"].split()[0], "score": row["score"]}
        | {"column": row["position"], "level": row["layer"]}
        for row in found
    ]
    fed = [row for row in mine if row["to"] and row["score"] >= least]
    edges = [{"from": row["from"], "to": row["to"], "size": row["score"]} for row in fed]
    scores = alt.Scale(
        domain=[0, max(row["score"] for row in found)], range=["white", SKY], interpolate="rgb", clamp=True
    )
    fill = alt.Fill("score:Q", title="score [logits]", scale=scores)
    words = {row["position"]: row["word"] for row in found}
    layers = {row["layer"]: f"layer {row['layer']}" for row in found}
    return picture(nodes, edges, words, layers, "share given", fill=fill, stroke=alt.value(GREY))
