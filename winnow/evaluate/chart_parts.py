"""What all charts share: colours, lines with bands, axes, the look of a page, and the file it is written to.

A chart takes tables and returns an altair chart; `save_chart` writes it as SVG without a browser or a network.
Colours are Okabe and Ito's, which colour-blind readers tell apart ("Color Universal Design", 2008), and
series differ in marker shape as well. Bands and bars are 95 % Student intervals over seeds. A chart raises
InputError where its table has none of the rows it shows.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import vl_convert

from winnow.errors import InputError
from winnow.statistics import t_interval

Rows = list[dict[str, Any]]

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, BLACK, GREY = PALETTE = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#000000",
    "#7F7F7F",
]
SHAPES = [
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
]
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
WIDTH, HEIGHT = 560, 380  # of the plotting area: about 900 x 500 with axes and a legend beside it
WIDE = 720  # of all panels in a row, with the legend below
SHARE = (0.0, 1.0)


class Key(NamedTuple):
    """What colours and shapes stand for: a field, its title in the legend, its values in order."""

    field: str
    title: str
    names: list[str]

    def colour(self) -> alt.Color:
        colours = [PALETTE[i % len(PALETTE)] for i in range(len(self.names))]
        scale = alt.Scale(domain=self.names, range=colours)
        return alt.Color(f"{self.field}:N", title=self.title, scale=scale)

    def shape(self) -> alt.Shape:
        # Colours that come round again meet other shapes.
        shapes = [SHAPES[(i + i // len(PALETTE)) % len(SHAPES)] for i in range(len(self.names))]
        scale = alt.Scale(domain=self.names, range=shapes)
        return alt.Shape(f"{self.field}:N", title=self.title, scale=scale)


def lines(rows: Rows, x: alt.X, y: alt.Y, key: Key, *, bars: bool = False, markers: bool = True) -> alt.LayerChart:
    """Means as lines with markers, and their intervals as bands or bars."""
    base = alt.Chart(data(rows)).encode(x=x, y=y, color=key.colour())
    # Intervals may reach beyond a fixed axis.
    spread = base.mark_rule(strokeWidth=2, clip=True) if bars else base.mark_area(opacity=0.12, clip=True)
    interval = y.copy()
    interval.shorthand = "low:Q"
    layers = [spread.encode(y=interval, y2="high:Q"), base.mark_line(strokeWidth=2.5)]
    if markers:
        layers.append(base.mark_point(filled=True, size=80, opacity=1).encode(shape=key.shape()))
    return alt.LayerChart(layer=layers)


def level(value: float, label: str, width: float, side: str = "right") -> list[alt.Chart]:
    """A dashed line at a value, with its label above it at the left or right end."""
    line = alt.Chart(data([{"mean": value, "label": label}]))
    layers = [line.mark_rule(strokeDash=[8, 5], strokeWidth=2, color=BLACK).encode(y="mean:Q")]
    for rim in (5, 0):  # a white rim keeps the words legible over lines
        stroke = "white" if rim else "transparent"
        at, shift = (0, 6) if side == "left" else (width, -6)
        text = line.mark_text(
            align=alt.Align(side), baseline="bottom", dx=shift, dy=-3, fontSize=15, stroke=stroke, strokeWidth=rim
        )
        layers.append(text.encode(x=alt.value(at), y="mean:Q", text="label:N"))
    return layers


def mean_bands(rows: Rows, keys: list[str], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Rows:
    """Mean and 95 % interval of `value` for each combination of keys; no interval for a single seed.

    bounds: of what the metric can be, at which intervals end.
    """
    bands = []
    for key, found in grouped(rows, keys).items():
        values = [row["value"] for row in found]
        mean = float(np.mean(values))
        low, high = t_interval(values)[1:] if len(values) > 1 else (mean, mean)
        band = {"mean": mean, "low": max(low, bounds[0]), "high": min(high, bounds[1])}
        bands.append(dict(zip(keys, key, strict=True)) | band)
    return bands


def grouped(rows: Iterable[dict[str, Any]], keys: list[str]) -> dict[tuple[Any, ...], Rows]:
    groups: dict[tuple[Hashable, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def metric_values(metrics: pa.Table, metric: str) -> Rows:
    """Rows of one metric that have a value and no step."""
    found = metrics.filter((pc.field("metric") == metric) & pc.field("step").is_null())
    return [row for row in found.to_pylist() if finite(row["value"])]


def finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def some(rows: Rows, what: str) -> Rows:
    if not rows:
        raise InputError(f"chart: the table has no {what}; run the stage that makes them, or leave the chart out")
    return rows


def at_sparsities(metrics: pa.Table, metric: str) -> Rows:
    """Rows of one metric with variant "<model>-s<percent>", and with `model` and `kept` [% of weights]."""
    rows = []
    for row in metric_values(metrics, metric):
        told = re.fullmatch(r"(.+)-s(\d+(?:\.\d+)?)", row["variant"] or "")
        if told and float(told[2]) < 100:
            rows.append(row | {"model": told[1], "kept": round(100 - float(told[2]), 6)})
    return rows


def sparsity_axis(kept: list[float]) -> alt.X:
    # The unit stands in the title: with it, labels of neighbouring sparsities touch in a narrow panel.
    axis = alt.Axis(values=kept, labelExpr="format(100 - datum.value, '~g')", labelOverlap=False)
    scale = alt.Scale(type="log", reverse=True, nice=False, padding=14)
    return alt.X("kept:Q", title="sparsity (%, log scale)", axis=axis, scale=scale)


def titled(metric: str, rows: Rows) -> str:
    unit = rows[0].get("unit")
    return f"{metric.replace('_', ' ')} ({unit})" if unit else metric.replace("_", " ")


def short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def key_of(field: str, title: str, rows: Rows) -> Key:
    return Key(field, title, list(dict.fromkeys(row[field] for row in rows)))


def picture(image: np.ndarray) -> str:
    """An image uint8[h, w, 1 or 3] as a data URI, for mark_image: a chart stays one file."""
    from base64 import b64encode

    from winnow.workloads.image_tables import encode_png

    return f"data:image/png;base64,{b64encode(encode_png(image)).decode()}"


def data(rows: Rows) -> alt.InlineData:
    return alt.InlineData(values=rows)


def styled(chart: Any, legend: str = "right") -> Any:
    """Type that can be read at report size, on white."""
    # Room at the rim and between names of a legend: a viewer without these fonts takes a wider one.
    return (
        chart.configure(font=FONT, background="white", padding=28)
        .configure_axis(
            labelFontSize=16, titleFontSize=17, titleFontWeight="normal", titlePadding=12, gridColor="#E5E5E5"
        )
        .configure_legend(
            orient=legend,
            columns=4 if legend == "bottom" else 1,
            columnPadding=32,
            labelFontSize=16,
            titleFontSize=17,
            titleFontWeight="normal",
            symbolSize=140,
            symbolOpacity=1,
            labelLimit=260,
        )
        .configure_title(fontSize=18, fontWeight="normal", anchor="start")
        .configure_view(stroke=None)
    )


def save_chart(chart: alt.TopLevelMixin, path: Path | str) -> None:
    """Write a chart as SVG, the same bytes every time; InputError for another suffix."""
    if Path(path).suffix != ".svg":
        raise InputError(f"{path}: charts are written as SVG; name it .svg")
    version = "_".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    svg = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version)
    # The renderer numbers gradients and clips through the life of the process; here each file starts at 0.
    found = list(dict.fromkeys(re.findall(r"(?:gradient_|clip)\d+", svg)))
    numbers = {name: f"mark{number}" for number, name in enumerate(found)}
    Path(path).write_text(re.sub(r"(?:gradient_|clip)\d+", lambda m: numbers[m[0]], svg), encoding="utf-8")
