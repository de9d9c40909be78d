"""Charts of LIME on images."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    HEIGHT,
    SHARE,
    WIDTH,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.evaluate.gallery_charts import region_weights

SHOWN = {
    "precision": "precision",
    "random_precision": "precision at random",
    "pointing": "first region on it",
    "drop": "fall by deletion",
    "random_drop": "fall at random",
    "stability": "stability",
}
FALLS = ("drop", "random_drop")
"""Changes of a probability, which may also rise; all others are shares."""


def localisation(metrics: pa.Table) -> alt.TopLevelMixin:
    """Points with intervals over seeds, which end where the measure does: each measure, for each kind of regions."""
    rows = []
    for metric, name in SHOWN.items():
        bounds = (-1.0, 1.0) if metric in FALLS else SHARE
        for band in mean_bands(metric_values(metrics, metric), ["system"], bounds):
            rows.append(band | {"measure": name})
    key = key_of("system", "regions", some(rows, "localisation"))
    base = alt.Chart(data(rows)).encode(
        x=alt.X("measure:N", title=None, sort=list(SHOWN.values()), axis=alt.Axis(labelAngle=-30)),
        xOffset=alt.XOffset("system:N", sort=key.names),
        color=key.colour(),
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=alt.Y("mean:Q", title="share"), shape=key.shape()
    )
    bars = base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
    return styled(alt.LayerChart(layer=[bars, points]).properties(width=WIDTH, height=HEIGHT))


def coverage(metrics: pa.Table) -> alt.TopLevelMixin:
    """Coverage over the number of images shown, of the pick and of random images."""
    names = {"submodular_pick": "submodular pick", "random_pick": "at random"}
    rows = [
        row | {"system": f"{names[row['system']]}, {row['variant']}"}
        for row in metrics.to_pylist()
        if row["metric"] == "coverage" and row["step"] is not None and row["system"] in names
    ]
    bands = mean_bands(some(rows, "coverage"), ["system", "step"], (0, np.inf))
    x = alt.X("step:Q", title="images shown", axis=alt.Axis(tickMinStep=1))
    chart = lines(bands, x, alt.Y("mean:Q", title="coverage"), key_of("system", "pick, regions", bands))
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def overlays(saved: Mapping[str, np.ndarray], measured: pa.Table, explained: pa.Table) -> alt.TopLevelMixin:
    """An image of each class, its regions, their signed weights, and what is there, for the kind of regions saved.

    saved: of `overlay_maps`. measured, explained: rows of the stage's localisation and explanations, of the same seed.
    """
    kind = next(name for name in saved if name not in ("images", "truth", "numbers"))
    of = {row["image"]: row for row in measured.to_pylist() if row["segmenter"] == kind}
    weights: dict[int, list[float]] = {}
    for row in explained.to_pylist():
        if row["segmenter"] == kind:
            weights.setdefault(row["image"], []).append(row["weight"])
    numbers = saved["numbers"].tolist()
    titles, fits = [of[i]["class"] for i in numbers], [of[i]["r2"] for i in numbers]
    own = [weights[i] for i in numbers]
    return region_weights(saved["images"], titles, saved[kind], own, fits, saved["truth"].astype(bool))
