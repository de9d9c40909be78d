"""Charts of single prototypes: how often each hits its part, and images with the region of the best and the worst."""

from __future__ import annotations

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import BLACK, ORANGE, SKY, VERMILION, WIDTH, Rows, data, grouped, picture, some, styled
from winnow.evaluate.prototype_strips import SHOWN
from winnow.workloads.image_tables import decode_png

CELL = 84  # pixels of an image


def prototypes(table: pa.Table) -> alt.Chart:
    """How often each prototype hits its best part, a tick each, all seeds.

    table: columns variant, frequency, consistent.
    """
    rows = some([row for row in table.to_pylist() if row["frequency"] is not None], "prototypes")
    dots = [{"variant": r["variant"], "frequency": 100 * r["frequency"], "consistent": r["consistent"]} for r in rows]
    order = list(dict.fromkeys(row["variant"] for row in rows))
    x = alt.X("frequency:Q", title="images in which a prototype hits its part (%)", scale=alt.Scale(domain=[0, 100]))
    y = alt.Y("variant:N", title=None, sort=order, axis=alt.Axis(minExtent=210, labelLimit=210))
    colour = alt.Color(
        "consistent:N", title="consistent", scale=alt.Scale(domain=[True, False], range=[VERMILION, SKY])
    )
    chart = alt.Chart(data(dots)).mark_tick(thickness=2.5, size=26, opacity=0.6).encode(x=x, y=y, color=colour)
    return styled(chart.properties(width=WIDTH, height=34 * len(order)), legend="bottom")


def strips(table: pa.Table) -> alt.LayerChart:
    """Images of the best and the worst prototype of each network, first seed: region, and points of visible parts.

    table: columns variant, seed and those of `prototype_strips.strips`. Points in the region have another colour.
    """
    rows = some(table.to_pylist(), "strips")
    first = min(row["seed"] for row in rows)
    shown = grouped([row for row in rows if row["seed"] == first], ["variant", "which"])
    images: Rows = []
    boxes: Rows = []
    points: Rows = []
    names: list[str] = []
    for line, ((variant, which), found) in enumerate(shown.items()):
        names.append(f"{variant}, {which}: {100 * found[0]['frequency']:.0f} %")
        for row in found:
            pixels = decode_png(row["png"])
            height, width = pixels.shape[:2]
            left, top = row["place"] + 0.03, line + 0.03
            images.append({"uri": picture(pixels), "x": row["place"] + 0.5, "y": line + 0.5})
            if row["region"]:
                at = [0.94 * value / size for value, size in zip(row["region"], (width, height) * 2, strict=True)]
                boxes.append({"left": left + at[0], "top": top + at[1], "right": left + at[2], "bottom": top + at[3]})
            for point in row["points"]:
                x, y = left + 0.94 * (point["x"] + 0.5) / width, top + 0.94 * (point["y"] + 0.5) / height
                points.append({"x": x, "y": y, "hit": point["hit"]})
    return styled(_layered(images, boxes, points, names).properties(width=CELL * SHOWN, height=CELL * len(names)))


def _layered(images: Rows, boxes: Rows, points: Rows, names: list[str]) -> alt.LayerChart:
    bare = alt.Axis(
        values=[i + 0.5 for i in range(len(names))],
        labelExpr=f"{names}[floor(datum.value)]",
        labelLimit=330,
        minExtent=310,
        grid=False,
        ticks=False,
        domain=False,
    )
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, SHOWN], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[len(names), 0], nice=False), axis=bare, title=None)
    shown = alt.Chart(data(images)).mark_image(width=0.94 * CELL, height=0.94 * CELL).encode(x=x, y=y, url="uri:N")
    region = alt.Chart(data(boxes)).mark_rect(filled=False, stroke=ORANGE, strokeWidth=2.5)
    left, top = alt.X("left:Q", axis=None), alt.Y("top:Q", axis=bare, title=None)
    layers: list[alt.Chart] = [shown, region.encode(x=left, x2="right:Q", y=top, y2="bottom:Q")]
    for hit, colour in ((False, BLACK), (True, VERMILION)):
        of = alt.Chart(data([point for point in points if point["hit"] == hit]))
        dots = of.mark_point(size=40, filled=True, color=colour, stroke="white", strokeWidth=1, opacity=1)
        layers.append(dots.encode(x=x, y=y))
    return alt.LayerChart(layer=layers)
