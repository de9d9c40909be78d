"""Charts of circuits: how faithful the best nodes are, where they lie, how scores tell effects, who reads whom."""

from __future__ import annotations

from typing import Any

import altair as alt

from winnow.evaluate.chart_parts import (
    BLUE,
    GREY,
    SHARE,
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
        x = alt.X("size:Q", title="heads at positions kept", scale=alt.Scale(type="log", nice=False, padding=10))
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
        limit = max(abs(row["mean"]) for row in means) or 1.0
        scale = alt.Scale(scheme="blueorange", domain=[-limit, limit])
        chart = alt.Chart(data(means)).mark_rect().encode(
            x=alt.X("position:O", title="position", axis=alt.Axis(labelAngle=0)),
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
            x=alt.X("score:Q", title="score [logits]"), y=alt.Y("effect:Q", title="drop where taken away [logits]")
        )  # fmt: skip
        panels.append(marks.properties(width=WIDE / 2 - 70, height=220, title=title))
    return styled(alt.concat(*panels, columns=2))


def circuit(rows: Rows, least: float = 0.1) -> alt.LayerChart:
    """The best nodes of the first task, words from left to right and layers from below; lines where one feeds another.

    least: smallest share of what a node differs by that is drawn as a line.
    """
    mine = [row for row in some(rows, "nodes") if (row["task"], row["seed"]) == (rows[0]["task"], rows[0]["seed"])]
    nodes = {row["from"]: row for row in mine if not row["to"]}
    heads = max(row["head"] for row in mine) + 1
    places = {
        name: {"x": row["position"], "y": row["layer"] + row["head"] / (heads + 1)} for name, row in nodes.items()
    }
    fed = [row for row in mine if row["to"] and row["score"] >= least]
    arcs = [
        places[row["from"]] | {"x2": places[row["to"]]["x"], "y2": places[row["to"]]["y"], "share": row["score"]}
        for row in fed
    ]
    marks = [places[name] | {"score": row["score"], "label": name.split()[0]} for name, row in nodes.items()]
    words = {row["position"]: row["word"] for row in nodes.values()}
    told = " : ".join(f"datum.value == {p} ? '{p} {word}'" for p, word in sorted(words.items())) + " : ''"
    axis = alt.Axis(values=sorted(words), labelExpr=told, labelAngle=-40, grid=False, labelOverlap=False)
    x = alt.X("x:Q", title="position and word of one sentence", axis=axis)
    y = alt.Y("y:Q", title="layer", axis=alt.Axis(values=[0, 1, 2, 3], format="d"))
    fed_by = alt.Chart(data(arcs or [{"x": 0, "y": 0, "x2": 0, "y2": 0, "share": 0}])).mark_rule(color=GREY).encode(
        x=x, y=y, x2="x2:Q", y2="y2:Q",
        strokeWidth=alt.StrokeWidth("share:Q", title="share given", scale=alt.Scale(domain=SHARE, range=[0.5, 8])),
    )  # fmt: skip
    base = alt.Chart(data(marks))
    points = base.mark_point(filled=True, opacity=1, color=BLUE).encode(
        x=x, y=y, size=alt.Size("score:Q", title="score [logits]", scale=alt.Scale(range=[60, 900]))
    )
    names = base.mark_text(dy=-20, fontSize=14).encode(x=x, y=y, text="label:N")
    return styled(alt.layer(fed_by, points, names).properties(width=WIDE - 180, height=360))
