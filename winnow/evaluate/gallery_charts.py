"""Explanations of the same images side by side: a map of each method, and superpixels with their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from scipy import ndimage

from winnow.evaluate.chart_parts import BLUE, GREY, ORANGE, VERMILION, Rows, data, picture, some, styled

CELL = 112  # pixels of an image in the grid
REGION_CELL = 250  # pixels of an image with numbers on its regions
FILLED = 0.94
"""Share of a cell's side that its image fills."""
CLEAR = 0.99
"""Quantile of a map's magnitudes that is drawn in full colour."""
NUMBERED = 5
NUMBER = 60 / REGION_CELL, 16 / REGION_CELL  # width and height of a number
"""Regions of largest weight that are numbered."""
FOR, AGAINST = "for the class", "against it"


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def coloured(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """uint8[h, w, 3]: a faint grey image under a map's colours, full at the map's quantile CLEAR of magnitudes.

    image: uint8[h, w, c]. values: float[h, w], above 0 for the class and below 0 against it.
    """
    grey = 195 + 60 * image.mean(axis=2, keepdims=True) / 255
    size = np.abs(values)
    full = np.quantile(size, CLEAR) or size.max() or 1.0
    strength = np.clip(size / full, 0, 1)[..., None]
    colour = np.where(values[..., None] > 0, _rgb(VERMILION), _rgb(BLUE))
    return np.rint((1 - strength) * grey + strength * colour).astype(np.uint8)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """An image [h, w, c] with every pixel repeated, at least `side` high: browsers blur small images."""
    times = -(-side // image.shape[0])
    return image.repeat(times, axis=0).repeat(times, axis=1)


def outlined(image: np.ndarray, regions: np.ndarray, side: int, colour: str) -> np.ndarray:
    """uint8[h, w, 3]: the image enlarged to `side` or more, with a line between its regions int[h, w]."""
    large, labels = enlarged(image, side), enlarged(regions[..., None], side)[..., 0]
    border = ndimage.maximum_filter(labels, 2) != ndimage.minimum_filter(labels, 2)
    return np.where(border[..., None], _rgb(colour), large * np.ones(3, np.uint8)).astype(np.uint8)


def explanation_grid(images: np.ndarray, titles: Sequence[str], maps: Mapping[str, np.ndarray]) -> alt.TopLevelMixin:
    """A column for each image, a row for each method, the images themselves on top.

    images: uint8[n, h, w, c]. titles: of the images. maps: method -> float[n, h, w].
    """
    rows: Rows = [_cell(enlarged(image, CELL), i, 0) for i, image in enumerate(images)]
    for place, found in enumerate(maps.values(), start=1):
        rows += [
            _cell(enlarged(coloured(image, values), CELL), i, place)
            for i, (image, values) in enumerate(zip(images, found, strict=True))
        ]
    return _page(some(rows, "images"), titles, ["image", *maps], CELL)


def region_weights(
    images: np.ndarray,
    titles: Sequence[str],
    regions: np.ndarray,
    weights: Sequence[np.ndarray] | Sequence[Sequence[float]],
    fits: Sequence[float],
    truth: np.ndarray | None = None,
) -> alt.TopLevelMixin:
    """Each image, its superpixels, and these in the colour of LIME's signed weights, the largest ones numbered.

    A number that would cover that of a larger weight is left out.

    regions: int[n, h, w]. weights: of each image float[regions], in probability. fits: R^2 of each linear model.
    truth: bool[n, h, w], what an explanation should show; a fourth column has it outlined, and the rest faint.
    """
    rows: Rows = []
    numbers: Rows = []
    for i, (image, labels, weight) in enumerate(zip(images, regions, map(np.asarray, weights), strict=True)):
        colours = coloured(image, weight[labels])
        panels = (enlarged(image, REGION_CELL), outlined(image, labels, REGION_CELL, ORANGE))
        rows += [_cell(panel, place, i) for place, panel in enumerate(panels)]
        rows.append(_cell(outlined(colours, labels, REGION_CELL, GREY), 2, i))
        if truth is not None:
            seen = np.where(truth[i][..., None], image, coloured(image, np.zeros(labels.shape)))
            rows.append(_cell(outlined(seen, truth[i].astype(int), REGION_CELL, ORANGE), 3, i))
        own: Rows = []
        for region in np.argsort(-np.abs(weight), kind="stable")[:NUMBERED]:
            y, x = _inside(labels == region)
            margin = (1 - FILLED) / 2
            number = {
                "x": 2 + margin + FILLED * (x + 0.5) / labels.shape[1],
                "y": i + margin + FILLED * (y + 0.5) / labels.shape[0],
                "label": f"{weight[region]:+.2g}",
            }
            if all(abs(number["x"] - o["x"]) > NUMBER[0] or abs(number["y"] - o["y"]) > NUMBER[1] for o in own):
                own.append(number)
        numbers += own
    names = [f"{title}, R² {fit:.2f}" for title, fit in zip(titles, fits, strict=True)]
    columns = ["image", "superpixels", "weights (probability)", *(["truth"] if truth is not None else [])]
    return _page(some(rows, "images"), columns, names, REGION_CELL, numbers)


def _inside(mask: np.ndarray) -> tuple[int, int]:
    """The pixel of a region that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(y), int(x)


def _cell(image: np.ndarray, column: int, row: int) -> dict[str, Any]:
    return {"uri": picture(image), "x": column + 0.5, "y": row + 0.5}


def _page(
    rows: Rows, columns: Sequence[str], lines: Sequence[str], side: int, numbers: Rows | None = None
) -> alt.TopLevelMixin:
    """Images in a grid with names above the columns and left of the rows, and a key of the two colours."""

    def axis(names: Sequence[str], **place: Any) -> alt.Axis:
        return alt.Axis(
            values=[i + 0.5 for i in range(len(names))],
            labelExpr=f"{list(names)}[floor(datum.value)]",
            labelLimit=300,
            grid=False,
            ticks=False,
            domain=False,
            **place,
        )

    x = alt.X(
        "x:Q", scale=alt.Scale(domain=[0, len(columns)]), axis=axis(columns, orient="top", labelAngle=0), title=None
    )
    y = alt.Y("y:Q", scale=alt.Scale(domain=[len(lines), 0]), axis=axis(lines), title=None)
    shown = alt.Chart(data(rows)).mark_image(width=FILLED * side, height=FILLED * side)
    key = alt.Chart(data([{"x": 0.5, "y": 0.5, "speaks": name} for name in (FOR, AGAINST)]))
    colour = alt.Color("speaks:N", title="speaks", scale=alt.Scale(domain=[FOR, AGAINST], range=[VERMILION, BLUE]))
    layers: list[Any] = [
        key.mark_square(opacity=0).encode(x=x, y=y, color=colour),
        shown.encode(x=x, y=y, url="uri:N"),
    ]
    for rim in (4, 0) if numbers else ():  # a white rim keeps the numbers legible over colours
        text = alt.Chart(data(numbers or [])).mark_text(
            fontSize=15, stroke="white" if rim else "transparent", strokeWidth=rim
        )
        layers.append(text.encode(x=x, y=y, text="label:N"))
    chart = alt.LayerChart(layer=layers).properties(width=side * len(columns), height=side * len(lines))
    return styled(chart, "bottom")
