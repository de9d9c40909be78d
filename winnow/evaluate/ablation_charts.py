"""Charts of the Local Interaction Basis: edges between directions, what a network needs of both, and eigenvalues."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from winnow.evaluate.chart_parts import (
    GREY,
    PALETTE,
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

BASES = {
    "jacobian": "local interaction basis",
    "pca": "principal components",
    "neuron": "neurons",
    "random": "random rotation",
}
DRAWN = ("jacobian", "pca")
FREQUENCIES = len(PALETTE) - 1
"""Commonest frequencies (or modules) that have a colour of their own."""


def graph(edges: Rows, directions: Rows) -> alt.ConcatChart:
    """The strongest edges between neighbouring layers, of one seed: a panel a basis, wide where strong.

    Directions stand in the order of their eigenvalues. Colours tell the commonest frequencies, of networks that add,
    and the largest modules of others.
    """
    kept = some([row for row in edges if row["basis"] in DRAWN], "edges")
    field = "frequency" if any(row["frequency"] is not None for row in directions) else "module"
    told = {(row["basis"], row["layer"], row["node"]): row.get(field) for row in directions}
    panels: list[Any] = []
    for (basis,), mine in grouped(kept, ["basis"]).items():
        layers = list(dict.fromkeys(layer for row in mine for layer in (row["layer"], row["next"])))
        ends = {(row["layer"], row["from"]) for row in mine} | {(row["next"], row["to"]) for row in mine}
        places: dict[tuple[str, int], dict[str, Any]] = {}
        for level, layer in enumerate(layers):
            nodes = sorted(node for name, node in ends if name == layer)
            for i, node in enumerate(nodes):
                frequency = told.get((basis, layer, node))
                label = "none" if frequency in (None, -1) else str(frequency)
                places[layer, node] = {"x": (i + 0.5) / len(nodes), "y": level, "frequency": label}
        weakest = min(math.log10(row["strength"]) for row in mine)
        rules = [
            places[row["layer"], row["from"]]
            | {"x2": places[row["next"], row["to"]]["x"], "y2": places[row["next"], row["to"]]["y"]}
            | {"width": math.log10(row["strength"]) - weakest}
            for row in mine
        ]
        places = _coloured(places)
        axis_told = " : ".join(f"datum.value == {i} ? '{layer}'" for i, layer in enumerate(layers)) + " : ''"
        axis = alt.Axis(values=list(range(len(layers))), labelExpr=axis_told, grid=False, domain=False, ticks=False)
        x, y = alt.X("x:Q", axis=None), alt.Y("y:Q", title=None, axis=axis)
        width = alt.StrokeWidth("width:Q", legend=None, scale=alt.Scale(range=[0.3, 4]))
        names = sorted(
            {place["frequency"] for place in places.values()}, key=lambda name: (not name.isdigit(), name.zfill(3))
        )
        colours = alt.Scale(domain=names, range=[PALETTE[i % len(PALETTE)] for i in range(len(names))])
        lined = alt.Chart(data(rules)).mark_rule(color=GREY, opacity=0.4)
        marks = alt.Chart(data(list(places.values()))).mark_point(filled=True, size=60, opacity=1)
        layered = alt.layer(
            lined.encode(x=x, y=y, x2="x2:Q", y2="y2:Q", strokeWidth=width),
            marks.encode(x=x, y=y, color=alt.Color("frequency:N", title=field, scale=colours)),
        )
        panels.append(layered.properties(width=WIDE, height=240, title=BASES[basis]))
    return styled(alt.concat(*panels, columns=1).resolve_scale(color="independent", strokeWidth="independent"))


def _coloured(places: dict[tuple[str, int], dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Places in which rarer frequencies are called other."""
    counted: dict[str, int] = {}
    for place in places.values():
        counted[place["frequency"]] = counted.get(place["frequency"], 0) + 1
    common = sorted(counted, key=lambda name: (-counted[name], name))[:FREQUENCIES]
    return {
        key: place | {"frequency": place["frequency"] if place["frequency"] in common else "other"}
        for key, place in places.items()
    }


def curves(rows: Rows, formula: str) -> alt.ConcatChart:
    """Loss by the number of directions kept, and of edges by one formula: a panel a layer, a line a basis."""
    titles = {"directions": "directions of {}", f"{formula}_edges": "edges from {}"}
    kept = [row | {"by": BASES[row["basis"]], "value": row["loss"]} for row in rows if row["what"] in titles]
    key = key_of("by", "basis", some(kept, "curves"))
    panels: list[Any] = []
    for (what, layer), mine in grouped(sorted(kept, key=lambda row: row["what"]), ["what", "layer"]).items():
        bands = mean_bands(mine, ["by", "count"], (0, math.inf))
        x = alt.X("count:Q", title="kept (log scale above 1)", scale=alt.Scale(type="symlog", domainMin=0))
        y = alt.Y("mean:Q", title="loss")
        panel = lines(bands, x, y, key, markers=False)
        panels.append(panel.properties(width=WIDE / 2 - 70, height=190, title=titles[what].format(layer)))
    return styled(alt.concat(*panels, columns=2), "bottom")


def eigenvalues(rows: Rows) -> alt.ConcatChart:
    """Eigenvalues over the largest, by rank: a panel a layer, a line a basis, means over seeds.

    Of the Local Interaction Basis they tell what matters to the next layer; of the others, variances.
    """
    kept = []
    told = [row for row in rows if row["eigenvalue"] is not None]
    for (basis, _, _), mine in grouped(some(told, "directions"), ["basis", "layer", "seed"]).items():
        order = sorted(mine, key=lambda row: -row["eigenvalue"])
        kept += [
            row | {"by": BASES[basis], "rank": rank, "value": row["eigenvalue"] / order[0]["eigenvalue"]}
            for rank, row in enumerate(order, 1)
            if row["eigenvalue"] > 0
        ]
    key = key_of("by", "basis", kept)
    panels: list[Any] = []
    for (layer,), mine in grouped(kept, ["layer"]).items():
        logs = [row | {"value": math.log10(row["value"])} for row in mine]
        bands = mean_bands(logs, ["by", "rank"])
        x, y = alt.X("rank:Q", title="rank"), alt.Y("mean:Q", title="log10 over the largest")
        panels.append(lines(bands, x, y, key, markers=False).properties(width=WIDE / 2 - 70, height=190, title=layer))
    return styled(alt.concat(*panels, columns=2), "bottom")
