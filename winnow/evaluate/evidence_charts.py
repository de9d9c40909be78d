"""Charts of a prototype network: this looks like that, with the sum that is the logit, and the parts of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    ORANGE,
    WIDE,
    data,
    mean_bands,
    picture,
    some,
    styled,
)

CELL, SHOWN = 130, 5
WORDS = 330  # width
LOSSES = {
    "valid_cross_entropy": "cross-entropy (nats)",
    "valid_cluster": "distance to own",
    "valid_separation": "distance to others",
    "valid_alignment": "misalignment",
    "valid_orthogonality": "lack of orthogonality",
}


def evidence(
    table: pa.Table, prototypes: pa.Table, images: Mapping[str, np.ndarray], classes: Sequence[str]
) -> alt.HConcatChart:
    """The 5 prototypes that add most to the logit of an image's predicted class, and what all others add.

    table: of `evidence_table`. prototypes: of `prototype_table`. images: uint8[n, h, w, c] of the splits train and
    the table's, in stored order.
    """
    rows = some(table.to_pylist(), "evidence")
    patches = {row["prototype"]: row for row in prototypes.to_pylist()}
    cells: list[dict[str, Any]] = []
    words = []
    for line, row in enumerate(rows[:SHOWN]):
        patch = patches[row["prototype"]]
        seen = ((images[row["split"]][row["row"]], row["box"]), (images["train"][patch["row"]], patch["box"]))
        cells += [_cell(image, box, column, line) for column, (image, box) in enumerate(seen)]
        text = f"{row['similarity']:.2f} × {row['weight']:.2f} = {row['contribution']:.2f}"
        words.append({"y": line + 0.5, "text": f"prototype {row['prototype']} of {classes[row['class']]}\n{text}"})
    rest, logit = sum(row["contribution"] for row in rows[SHOWN:]), rows[0]["logit"]
    total = f"{len(rows[SHOWN:])} other prototypes: {rest:.2f}\nlogit of {classes[rows[0]['predicted']]}: {logit:.2f}"
    words.append({"y": len(rows[:SHOWN]) + 0.3, "text": total})
    scale = alt.Scale(domain=[len(rows[:SHOWN]) + 0.6, 0], nice=False)
    names = ["this image", "looks like that"]
    axis = alt.Axis(orient="top", values=[0.5, 1.5], labelExpr=f"{names}[floor(datum.value)]")
    axis.grid, axis.ticks, axis.domain = False, False, False
    x, y = alt.X("x:Q", scale=alt.Scale(domain=[0, 2]), axis=axis, title=None), alt.Y("y:Q", scale=scale, axis=None)
    shown = alt.Chart(data(cells)).mark_image(width=0.94 * CELL, height=0.94 * CELL).encode(x=x, y=y, url="uri:N")
    boxes = alt.Chart(data(cells)).mark_rect(filled=False, stroke=ORANGE, strokeWidth=2.5)
    boxes = boxes.encode(x=alt.X("left:Q", title=None), x2="right:Q", y=alt.Y("top:Q", axis=None), y2="bottom:Q")
    height = CELL * (len(rows[:SHOWN]) + 0.6)
    text = (
        alt.Chart(data(words))
        .mark_text(align="left", lineBreak="\n", fontSize=17, dx=4)
        .encode(x=alt.value(0), y=y, text="text:N")
    )
    pictures = alt.LayerChart(layer=[shown, boxes]).properties(width=2 * CELL, height=height)
    return styled(alt.hconcat(pictures, text.properties(width=WORDS, height=height), spacing=8))


def _cell(image: np.ndarray, box: Sequence[int], column: int, line: int) -> dict[str, Any]:
    height, width = image.shape[:2]
    left, top, right, bottom = box
    return {
        "uri": picture(image),
        "x": column + 0.5,
        "y": line + 0.5,
        "left": column + 0.03 + 0.94 * left / width,
        "right": column + 0.03 + 0.94 * right / width,
        "top": line + 0.03 + 0.94 * top / height,
        "bottom": line + 0.03 + 0.94 * bottom / height,
    }


def losses(history: pa.Table) -> alt.ConcatChart:
    """Each part of the loss on held-out images over steps, before it is weighed, with intervals over seeds.

    history: rows with a step and the metrics valid_cross_entropy, valid_cluster, valid_separation, valid_alignment and
    valid_orthogonality.
    """
    panels = []
    for metric, title in LOSSES.items():
        found = [row for row in history.to_pylist() if row["metric"] == metric and row["step"] is not None]
        bands = mean_bands(some(found, metric), ["step"])
        x = alt.X("step:Q", title="step", axis=alt.Axis(tickCount=4, tickMinStep=1))
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))
        base = alt.Chart(data(bands)).encode(x=x)
        spread = base.mark_area(opacity=0.12, color=BLUE).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
        panel = alt.LayerChart(layer=[spread, base.mark_line(strokeWidth=2.5, color=BLUE).encode(y=y)])
        panels.append(panel.properties(width=WIDE / 3, height=HEIGHT * 0.55))
    return styled(alt.concat(*panels, columns=3, spacing=24))
