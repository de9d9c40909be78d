"""Charts of prototypes: the patches they come from, their scores, and the scores over window sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    HEIGHT,
    ORANGE,
    SHARE,
    WIDE,
    WIDTH,
    Key,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    picture,
    some,
    styled,
)

CELL = 76  # pixels of an image in the gallery
CURVES = {"consistency": "prototypes", "permuted": "parts shuffled", "location": "peaks of the class"}
PERCENT = (0.0, 100.0)
ROW = 3  # panels in a row


def prototype_gallery(prototypes: pa.Table, images: np.ndarray, classes: Sequence[str]) -> alt.LayerChart:
    """The training image that each prototype is nearest to with the box of its response, and what is in the box.

    One class a row. The patch beside the image is enlarged to the side of a cell, its shape kept.

    prototypes: columns class, row, box, active. images: uint8[n, h, w, c], the training split in stored order.
    """
    height, width = images.shape[1:3]
    seen: dict[int, int] = {}
    rows: list[dict[str, Any]] = []
    patches: list[dict[str, Any]] = []
    for entry in some(prototypes.to_pylist(), "prototypes"):
        column = seen.setdefault(entry["class"], 0)
        seen[entry["class"]] += 2
        left, top, right, bottom = entry["box"]
        image = images[entry["row"]]
        place = {"y": entry["class"] + 0.5, "opacity": 1.0 if entry["active"] else 0.25}
        patches.append(place | {"uri": picture(image[top:bottom, left:right]), "x": column + 1.5})
        rows.append(
            place
            | {
                "uri": picture(image),
                "x": column + 0.5,
                "left": column + 0.03 + 0.94 * left / width,
                "right": column + 0.03 + 0.94 * right / width,
                "top": entry["class"] + 0.03 + 0.94 * top / height,
                "bottom": entry["class"] + 0.03 + 0.94 * bottom / height,
            }
        )
    columns = max(seen.values())
    names = [str(name) for name in classes]
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, columns]), axis=None)
    labels = alt.Axis(
        values=[i + 0.5 for i in range(len(names))],
        labelExpr=f"{names}[floor(datum.value)]",
        grid=False,
        ticks=False,
        domain=False,
    )
    y = alt.Y("y:Q", scale=alt.Scale(domain=[len(names), 0]), axis=labels, title="class")
    base = alt.Chart(data(rows))
    shown, cut = (
        chart.mark_image(width=side * CELL, height=side * CELL).encode(
            x=x, y=y, url="uri:N", opacity=alt.Opacity("opacity:Q", scale=None)
        )
        for chart, side in ((base, 0.94), (alt.Chart(data(patches)), 0.8))
    )
    boxes = base.mark_rect(filled=False, stroke=ORANGE, strokeWidth=2.5).encode(
        x=alt.X("left:Q", axis=None), x2="right:Q", y=alt.Y("top:Q", axis=labels, title="class"), y2="bottom:Q"
    )
    return styled((shown + cut + boxes).properties(width=CELL * columns, height=CELL * len(names)))


def window_curves(curves: pa.Table) -> alt.ConcatChart:
    """Consistency and its nulls over half the window's side, a panel for each network, with intervals over seeds.

    curves: columns variant, seed, half, consistency, permuted, location (percent).
    """
    rows = [
        {"variant": row["variant"], "half": row["half"], "curve": title, "value": row[name]}
        for row in some(curves.to_pylist(), "window sizes")
        for name, title in CURVES.items()
    ]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    key = Key("curve", "", list(CURVES.values()))
    panels: list[Any] = []
    for variant in variants:
        bands = mean_bands([row for row in rows if row["variant"] == variant], ["half", "curve"], PERCENT)
        x = alt.X("half:Q", title="half window (pixels)")
        title = None if len(panels) % ROW else "consistency (%)"
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(labels=title is not None))
        panel = lines(bands, x, y, key)
        panels.append(panel.properties(width=WIDE / ROW, height=HEIGHT * 0.6, title=variant))
    return styled(alt.concat(*panels, columns=ROW, spacing=14), legend="bottom")


def two_scores(metrics: pa.Table) -> alt.LayerChart:
    """Consistency against stability of each network, with the interval of either over seeds.

    metrics: rows of the metrics schema with metrics consistency and stability, a variant for each network.
    """
    rows = _by_network(metrics, {"consistency": PERCENT, "stability": PERCENT})
    x = alt.X("stability:Q", title="stability (%)", scale=alt.Scale(zero=False, padding=20))
    return styled(_crosses(rows, "stability", x).properties(width=WIDTH, height=HEIGHT))


def accuracy_and_consistency(metrics: pa.Table) -> alt.LayerChart:
    """Accuracy against consistency of each network that has both, with their rank correlation over networks.

    metrics: as for `two_scores`, with the metric accuracy, and accuracy_spearman with _low and _high, a value a seed.
    """
    rows = [row for row in _by_network(metrics, {"consistency": PERCENT, "accuracy": SHARE}) if "accuracy" in row]
    told = {m: metric_values(metrics, f"accuracy_spearman{m}") for m in ("", "_low", "_high")}
    middle, low, high = (
        float(np.mean([row["value"] for row in found])) if found else np.nan for found in told.values()
    )
    title = f"Spearman {middle:.2f}, 95 % over networks {low:.2f} to {high:.2f} (means over seeds)"
    x = alt.X("accuracy:Q", title="accuracy (share)", scale=alt.Scale(zero=False, padding=20))
    return styled(_crosses(rows, "accuracy", x).properties(width=WIDTH, height=HEIGHT, title=title))


def _by_network(metrics: pa.Table, bounds: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """A row a network: each metric's mean over seeds, and its interval as <metric>_from and <metric>_to."""
    found: dict[str, dict[str, Any]] = {}
    for metric, limits in bounds.items():
        for band in mean_bands(some(metric_values(metrics, metric), metric), ["variant"], limits):
            entry = found.setdefault(band["variant"], {"variant": band["variant"]})
            entry |= {metric: band["mean"], f"{metric}_from": band["low"], f"{metric}_to": band["high"]}
    return list(found.values())


def _crosses(rows: list[dict[str, Any]], across: str, x: alt.X) -> alt.LayerChart:
    """Consistency of each network over another metric, with the intervals of both."""
    key = key_of("variant", "network", rows)
    base = alt.Chart(data(rows)).encode(color=key.colour())
    y = alt.Y("consistency:Q", title="consistency (%)", scale=alt.Scale(domain=[0, 100]))
    level = base.mark_rule(strokeWidth=2, clip=True).encode(x=alt.X(f"{across}_from:Q"), x2=f"{across}_to:Q", y=y)
    upright = base.mark_rule(strokeWidth=2, clip=True).encode(x=x, y=alt.Y("consistency_from:Q"), y2="consistency_to:Q")
    points = base.mark_point(filled=True, size=140, opacity=1).encode(x=x, y=y, shape=key.shape())
    return level + upright + points
