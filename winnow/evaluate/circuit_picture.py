"""The picture of a circuit: boxes at words of a prompt and levels of a model, lines as wide as what one gives another.

No box covers another or a word, whatever the circuit: all lengths are points, and come from how long the labels are.
Only words and levels that have boxes are shown. Where a picture would become too wide, the boxes of a word and a level
stand in several rows. A line bends around the boxes that a straight one would cross, as far as there is a way.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from math import ceil
from typing import Any, NamedTuple

import altair as alt

from winnow.evaluate.chart_parts import BLACK, SHARE, Rows, data, grouped, styled

WIDEST, NARROWEST, LOWEST = 820.0, 520.0, 300.0
LETTER, WORD_LETTER = 9.0, 10.5
"""Widest mean letters of a label and of a word under the picture, in the fonts that viewers fall back to."""
ROW, TALL, BETWEEN, APART = 34.0, 24.0, 46.0, 12.0
"""Height of a row of boxes and of a box in it, and room between levels and between what stands side by side."""
ASIDE, CLEAR = sorted(range(-180, 181, 20), key=lambda aside: (abs(aside), -aside)), 3.0
"""How far lines bend at their middle, in the order of preference, and how far they keep from boxes."""
POINTS = 48

Point = tuple[float, float]


class Layout(NamedTuple):
    """Where boxes stand: the middle of each node, column and level, widths of nodes' boxes, and the size of all."""

    nodes: dict[Hashable, Point]
    columns: dict[int, float]
    levels: dict[int, float]
    boxes: dict[Hashable, float]
    width: float
    height: float


def layout(nodes: Rows, words: Mapping[int, str]) -> Layout:
    """Places for nodes, rows of node (its name), column, level and label; words: column -> what stands under it."""
    cells = grouped(nodes, ["column", "level"])
    of_column = {column: mine for (column,), mine in sorted(grouped(nodes, ["column"]).items())}
    box = {column: LETTER * max(len(node["label"]) for node in mine) + 12 for column, mine in of_column.items()}
    fullest = {column: max(len(cell) for (at, _), cell in cells.items() if at == column) for column in of_column}

    def beside(column: int, most: int) -> int:
        """Boxes in a row of a column, if at most so many fit and rows are as even as can be."""
        return ceil(fullest[column] / ceil(fullest[column] / most))

    def widths(most: int) -> dict[int, float]:
        """Width of each column if at most so many boxes stand side by side."""
        under = {column: WORD_LETTER * max(len(words[column]), len(f"({column})")) for column in box}
        side = {column: beside(column, most) * (box[column] + APART) for column in box}
        return {column: max(under[column] + APART, side[column]) + APART for column in box}

    most = max(fullest.values())
    while most > 1 and sum(widths(most).values()) > WIDEST:
        most -= 1
    stretch = max(1.0, NARROWEST / sum(widths(most).values()))
    middle, left, step = {}, 0.0, {}
    for column, width in widths(most).items():
        middle[column] = left + stretch * width / 2
        left += stretch * width
        step[column] = min((stretch * width - APART) / beside(column, most), 2 * (box[column] + APART))
    rows = {(column, level): ceil(len(cell) / beside(column, most)) for (column, level), cell in cells.items()}
    high, bottom = _heights(rows)
    found: dict[Hashable, Point] = {}
    for (column, level), cell in cells.items():
        across = ceil(len(cell) / rows[column, level])
        for i, node in enumerate(cell):
            row, place = divmod(i, across)
            here = min(across, len(cell) - row * across)
            x = middle[column] + (place - (here - 1) / 2) * step[column]
            found[node["node"]] = (x, high[level] + ((rows[column, level] - 1) / 2 - row) * ROW)
    boxes = {node["node"]: box[node["column"]] for node in nodes}
    return Layout(found, middle, high, boxes, left, bottom)


def _heights(rows: Mapping[tuple[int, int], int]) -> tuple[dict[int, float], float]:
    """The middle of each level, and the height of all; rows: of boxes, by column and level."""
    levels = sorted({level for _, level in rows})
    most = {level: max(count for (_, at), count in rows.items() if at == level) for level in levels}
    between = min(max(BETWEEN, LOWEST / len(levels) - ROW), 2 * BETWEEN)
    high, bottom = {}, 0.0
    for level in levels:
        high[level] = bottom + (between + ROW * most[level]) / 2
        bottom += between + ROW * most[level]
    return high, bottom


def line(place: Layout, start: Hashable, end: Hashable) -> list[Point]:
    """Points of the line from a node to another that crosses the fewest boxes of others, and bends least of these."""
    others = [(*at, place.boxes[node] / 2 + CLEAR) for node, at in place.nodes.items() if node not in (start, end)]

    def crossed(points: list[Point]) -> int:
        tall = TALL / 2 + CLEAR
        return sum(any(abs(x - x0) < wide and abs(y - y0) < tall for x, y in points) for x0, y0, wide in others)

    # min keeps the first of equals, so a straight line that crosses nothing stays.
    return min((_bow(place.nodes[start], place.nodes[end], aside) for aside in ASIDE), key=crossed)


def _bow(start: Point, end: Point, aside: float) -> list[Point]:
    (x, y), (x2, y2) = start, end
    return [
        (x + (x2 - x) * at + 4 * aside * at * (1 - at), y + (y2 - y) * at)
        for at in (i / POINTS for i in range(POINTS + 1))
    ]


def picture(
    nodes: Rows,
    edges: Rows,
    words: Mapping[int, str],
    levels: Mapping[int, str],
    given: str,
    *,
    fill: alt.Fill | None = None,
    stroke: alt.Color | alt.Value,
) -> alt.LayerChart:
    """Lines below boxes below labels, with legends.

    nodes: rows node, column, level, label and what `fill` reads. edges: rows from, to, size in [0, 1] and what `stroke`
    reads. words: what stands under columns; levels: names of levels; given: title of what widths of lines tell.
    """
    place = layout(nodes, words)
    arcs = [
        edge | {"edge": i, "step": step, "x": x, "y": y}
        for i, edge in enumerate(edges)
        for step, (x, y) in enumerate(line(place, edge["from"], edge["to"]))
    ]
    boxes = []
    for node in nodes:
        x, y = place.nodes[node["node"]]
        half = place.boxes[node["node"]] / 2
        sides = {"left": x - half, "right": x + half, "low": y - TALL / 2, "high": y + TALL / 2}
        boxes.append({key: value for key, value in node.items() if key != "node"} | {"x": x, "y": y} | sides)
    under = {at: [words[column], f"({column})"] for column, at in place.columns.items()}
    across = _axis(under, "word of the prompt, and its position", place.width)
    up = _axis({at: levels[level] for level, at in place.levels.items()}, None, place.height)
    middle, height = alt.X("x:Q", **across), alt.Y("y:Q", **up)
    width = alt.StrokeWidth(
        "size:Q",
        title=given,
        scale=alt.Scale(domain=SHARE, range=[0.5, 9]),
        # Not beside the other legend, which it would touch.
        legend=alt.Legend(values=[0.2, 0.6, 1.0], format=".1f", orient="bottom", columns=3),
    )
    given_by = alt.Chart(data(arcs)).mark_line(opacity=0.6, strokeCap="butt").encode(
        x=middle, y=height, detail="edge:N", order="step:Q", strokeWidth=width, color=stroke
    )  # fmt: skip
    base = alt.Chart(data(boxes))
    left, low = alt.X("left:Q", **across), alt.Y("low:Q", **up)
    rims = base.mark_rect(stroke=BLACK, cornerRadius=4, opacity=1).encode(
        x=left, x2="right:Q", y=low, y2="high:Q", fill=fill or alt.value("white")
    )
    names = base.mark_text(fontSize=14).encode(x=middle, y=height, text="label:N")
    return styled(alt.layer(given_by, rims, names).properties(width=place.width, height=place.height), "top")


def _axis(names: Mapping[float, str | list[str]], title: str | None, length: float) -> dict[str, Any]:
    """An axis in points with names at some of them."""
    told = " : ".join(f"datum.value == {at} ? {json.dumps(name)}" for at, name in names.items()) + " : ''"
    axis = alt.Axis(
        values=list(names), labelExpr=told, grid=False, labelOverlap=False, labelAngle=0, ticks=False, domain=False
    )
    return {"title": title, "axis": axis, "scale": alt.Scale(domain=[0, length], nice=False, zero=False)}
