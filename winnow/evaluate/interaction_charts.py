"""Charts of the Interaction Basis: interactions coloured by module, spectra of Hessians, purity of directions."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from winnow.evaluate.chart_parts import (
    BLUE,
    GREY,
    PALETTE,
    VERMILION,
    WIDE,
    Rows,
    data,
    finite,
    grouped,
    key_of,
    lines,
    mean_bands,
    some,
    styled,
)

BASES = {"ib": "interaction basis", "pca": "principal components", "neuron": "neurons", "random": "random rotation"}
STRONGEST = 250
"""Edges of a graph that are drawn; all of them would be one grey."""
NETWORKS = {"apart": "two tasks", "coupled": "coupled tasks"}


def graph(nodes: Rows, edges: Rows) -> alt.ConcatChart:
    """Nodes in layers with the edges that cannot be spared, the strongest of them: a panel a basis.

    Nodes of a layer stand in the order of their modules, which are their colours; shapes tell the task that gets more
    of a node.
    """
    shown = some([row for row in nodes if row["basis"] in ("ib", "neuron")], "nodes")
    panels: list[Any] = []
    for (basis,), mine in grouped(shown, ["basis"]).items():
        layers = list(dict.fromkeys(row["layer"] for row in mine))
        places = _places(mine, layers)
        own = sorted((row for row in edges if row["basis"] == basis), key=lambda row: -row["weight"])[:STRONGEST]
        drawn = []
        for row in own:
            first = places[row["layer"], row["from"]]
            second = places[layers[layers.index(row["layer"]) + 1], row["to"]]
            drawn.append({"x": first["x"], "y": first["y"], "x2": second["x"], "y2": second["y"]})
        told = " : ".join(f"datum.value == {i} ? '{layer}'" for i, layer in enumerate(layers)) + " : ''"
        axis = alt.Axis(values=list(range(len(layers))), labelExpr=told, grid=False, domain=False, ticks=False)
        x, y = alt.X("x:Q", axis=None), alt.Y("y:Q", title=None, axis=axis)
        modules = sorted({place["module"] for place in places.values()}, key=int)
        colours = alt.Scale(domain=modules, range=[PALETTE[i % len(PALETTE)] for i in range(len(modules))])
        shapes = alt.Scale(domain=["first", "second"], range=["circle", "square"])
        rules = alt.Chart(data(some(drawn, "edges"))).mark_rule(color=GREY, opacity=0.25)
        marks = alt.Chart(data(list(places.values()))).mark_point(filled=True, size=70, opacity=1)
        layered = alt.layer(
            rules.encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
            marks.encode(
                x=x,
                y=y,
                color=alt.Color("module:N", title="module", scale=colours),
                shape=alt.Shape("task:N", title="main task", scale=shapes),
            ),
        )
        panels.append(layered.properties(width=WIDE, height=260, title=BASES[basis]))
    return styled(alt.concat(*panels, columns=1).resolve_scale(color="independent"))


def _places(nodes: Rows, layers: list[str]) -> dict[tuple[str, int], dict[str, Any]]:
    """(layer, node) -> where it is drawn, its module and its task, of the nodes that are in a module."""
    places = {}
    for (layer,), mine in grouped((node for node in nodes if node["module"] >= 0), ["layer"]).items():
        order = sorted(mine, key=lambda node: (node["module"], node["node"]))
        for position, node in enumerate(order):
            place = {"x": (position + 0.5) / len(order), "y": layers.index(layer), "module": f"{node['module'] + 1}"}
            places[layer, node["node"]] = place | {"task": "first" if node["first"] >= node["second"] else "second"}
    return places


def spectrum(rows: Rows) -> alt.ConcatChart:
    """How many eigenvalues of the Hessian are above a value: planted networks with their predicted break, and trained.

    Values are over the largest. Of planted networks the first seed is drawn, and each eigenvalue.
    """
    known = some([row for row in rows if row["what"].startswith("planted")], "planted networks")
    first = [row for row in known if row["seed"] == known[0]["seed"]]
    floor = 1e-20
    drawn = [row | {"value": max(row["value"], floor)} for row in first]
    breaks = list({row["what"]: {"above": row["predicted"] + 0.5, "what": row["what"]} for row in first}.values())
    scale = alt.Scale(type="log", domain=[floor, 1], nice=False)
    colour = alt.Color(
        "what:N", title=None, scale=alt.Scale(domain=[row["what"] for row in breaks], range=[BLUE, VERMILION])
    )
    x = alt.X("above:Q", title="eigenvalue's rank")
    y = alt.Y("value:Q", title="over the largest", scale=scale, axis=alt.Axis(format="~e", tickCount=6))
    points = alt.Chart(data(drawn)).mark_point(filled=True, size=18, opacity=1).encode(x=x, y=y, color=colour)
    rules = alt.Chart(data(breaks)).mark_rule(strokeDash=[6, 4], strokeWidth=2).encode(x="above:Q", color=colour)
    left = alt.layer(rules, points).properties(width=WIDE / 2 - 60, height=300, title="planted, and predicted break")
    trained = [row | {"what": NETWORKS[row["what"]], "value": row["above"], "at": row["value"]}
               for row in rows if row["what"] in NETWORKS]  # fmt: skip
    bands = mean_bands(some(trained, "trained networks"), ["what", "at"], (1, np.inf))
    right = lines(
        bands,
        alt.X(
            "at:Q", title="tolerance (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(format="~e", tickCount=4)
        ),
        alt.Y("mean:Q", title="eigenvalues above it (log scale)", scale=alt.Scale(type="log")),
        key_of("what", "", bands),
        markers=False,
    ).properties(width=WIDE / 2 - 60, height=300, title="trained to equal loss")
    return styled(alt.concat(left, right, columns=2).resolve_scale(color="independent"), "bottom")


def purities(rows: Rows) -> alt.ConcatChart:
    """Share of each direction that goes to its main task, all seeds together: a panel a hidden layer, a violin a basis.

    A tick is the mean.
    """
    kept = [row | {"by": BASES[row["basis"]]} for row in rows if row["layer"].startswith("hidden")]
    kept = some([row for row in kept if finite(row["purity"])], "directions of hidden layers")
    panels: list[Any] = []
    places = np.linspace(0.5, 1, 51)
    for (layer,), mine in grouped(kept, ["layer"]).items():
        names = [name for name in BASES.values() if any(row["by"] == name for row in mine)]
        shapes, means = [], []
        for place, name in enumerate(names):
            values = np.array([row["purity"] for row in mine if row["by"] == name])
            kernel = np.exp(-0.5 * ((places[:, None] - values) / 0.02) ** 2).sum(1)
            half = 0.42 * kernel / kernel.max()
            shapes += [
                {"by": name, "purity": float(p), "left": place - float(h), "right": place + float(h)}
                for p, h in zip(places, half, strict=True)
            ]
            means.append({"by": name, "purity": float(values.mean()), "left": place - 0.42, "right": place + 0.42})
        told = " : ".join(f"datum.value == {i} ? '{name}'" for i, name in enumerate(names)) + " : ''"
        axis = alt.Axis(values=list(range(len(names))), labelExpr=told, grid=False, labelAngle=-25, labelOverlap=False)
        x = alt.X("left:Q", title=None, axis=axis, scale=alt.Scale(domain=[-0.6, len(names) - 0.4], nice=False))
        y = alt.Y("purity:Q", title="share of the main task", scale=alt.Scale(domain=[0.5, 1]))
        colour = alt.Color("by:N", legend=None, scale=alt.Scale(domain=names, range=PALETTE[: len(names)]))
        violins = alt.Chart(data(shapes)).mark_area(orient="horizontal", opacity=0.5).encode(
            x=x, x2="right:Q", y=y, color=colour
        )  # fmt: skip
        ticks = alt.Chart(data(means)).mark_rule(strokeWidth=3).encode(x=x, x2="right:Q", y=y, color=colour)
        panels.append(alt.layer(violins, ticks).properties(width=WIDE / 2 - 60, height=300, title=layer))
    return styled(alt.concat(*panels, columns=2))
