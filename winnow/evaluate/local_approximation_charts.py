"""Charts of explanations as local fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import WIDE, Rows, data, grouped, key_of, lines, mean_bands, some, styled
from winnow.evaluate.local_approximation_study import SCALES, STARTS

NAMES = {
    "lime": "LIME",
    "kernel_shap": "KernelSHAP",
    "occlusion": "occlusion",
    "c_lime": "C-LIME",
    "smoothgrad": "SmoothGrad",
    "gradient": "gradient",
    "integrated_gradients": "integrated gradients",
    "gradient_input": "gradient x input",
}
CELL = 58
KINDS = {"binary": "removed", "continuous": "given noise"}


def distances(table: pa.Table) -> alt.TopLevelMixin:
    """Heat maps of the distances between the framework's methods and the methods by themselves, for each model."""
    return styled(_by_model(table, _distances))


def _distances(found: Rows) -> alt.HConcatChart:
    rows = some(mean_bands(found, ["kind", "framework", "native"]), "distances")
    panels = []
    for kind, title in (("l1", "L1 distance"), ("cosine", "cosine distance")):
        cells = [row for row in rows if row["kind"] == kind]
        for column in grouped(cells, ["native"]).values():
            largest = max(row["mean"] for row in column) or 1.0
            for row in column:
                row["shade"] = row["mean"] / largest
        panels.append(_heat(cells, "framework", "native", "framework", "by itself", title))
    return alt.HConcatChart(hconcat=panels)


def losses(table: pa.Table) -> alt.TopLevelMixin:
    """Heat map of the loss of every explanation in every neighbourhood, over the lowest there, for each model."""
    return styled(_by_model(table, _losses))


def _losses(found: Rows) -> alt.LayerChart:
    rows = some(mean_bands(found, ["method", "neighbourhood"]), "losses")
    for column in grouped(rows, ["neighbourhood"]).values():
        least = min(row["mean"] for row in column if row["mean"] > 0) if any(row["mean"] > 0 for row in column) else 1.0
        for row in column:
            row["mean"] = max(row["mean"], 1e-12) / max(least, 1e-12)
            row["shade"] = float(np.log1p(min(row["mean"], 1e3)))
    return _heat(rows, "method", "neighbourhood", "explanation", "neighbourhood", "loss over the lowest")


def limits(table: pa.Table) -> alt.TopLevelMixin:
    """Distance from the limit, over the parameter that goes to it, for each model."""
    panels = []
    for method, title, axis, ticks in (
        ("smoothgrad", "SmoothGrad to gradient", "standard deviation of the noise (log scale)", SCALES),
        ("integrated_gradients", "integrated gradients to gradient x input", "start of the path", STARTS),
    ):
        rows = [row for row in table.to_pylist() if row["method"] == method]
        named = mean_bands(some(rows, f"way of {method} to its limit"), ["parameter", "model"], (0, np.inf))
        ends: dict[str, Any] = {"domain": [min(ticks), max(ticks)], "nice": False}
        scale = alt.Scale(type="log", reverse=True, **ends) if method == "smoothgrad" else alt.Scale(**ends)
        x = alt.X("parameter:Q", title=axis, scale=scale, axis=alt.Axis(values=list(ticks), format=".2~g"))
        chart = lines(named, x, alt.Y("mean:Q", title="L1 distance"), key_of("model", "model", named))
        panels.append(chart.properties(width=WIDE / 2, height=300, title=title))
    return styled(alt.HConcatChart(hconcat=panels), legend="bottom")


def perturbation(table: pa.Table) -> alt.TopLevelMixin:
    """Change of the output over the number of least features that are perturbed, for each model."""
    return styled(_by_model(table, _perturbation), legend="bottom")


def _perturbation(found: Rows) -> alt.HConcatChart:
    rows = [row for row in found if row["end"] == "bottom"]
    bands = mean_bands(some(rows, "perturbation tests"), ["kind", "k", "method"], (0, np.inf))
    named = [row | {"method": NAMES[row["method"]]} for row in bands]
    key = key_of("method", "method", named)
    panels = []
    for kind, what in KINDS.items():
        part = [row for row in named if row["kind"] == kind]
        x = alt.X("k:Q", title=f"features of least weight {what}", axis=alt.Axis(tickMinStep=1, format="d"))
        chart = lines(part, x, alt.Y("mean:Q", title="change of the output"), key, markers=False)
        panels.append(chart.properties(width=WIDE / 2, height=320))
    return alt.HConcatChart(hconcat=panels)


def _by_model(table: pa.Table, draw: Callable[[Rows], alt.HConcatChart | alt.LayerChart]) -> alt.VConcatChart:
    """One drawing below the other, each under its model's name."""
    rows = table.to_pylist()
    models = dict.fromkeys(row["model"] for row in some(rows, "models"))
    drawn = {name: draw([row for row in rows if row["model"] == name]) for name in models}
    titled = [
        alt.VConcatChart(vconcat=[chart], title=alt.Title(f"model: {name}", anchor="start"))
        for name, chart in drawn.items()
    ]
    return alt.VConcatChart(vconcat=titled)


def _heat(rows: Rows, row: str, column: str, row_title: str, column_title: str, title: str) -> alt.LayerChart:
    order = list(NAMES.values())
    cells = [r | {row: NAMES[r[row]], column: NAMES[r[column]], "text": f"{r['mean']:.2g}"} for r in rows]
    base = alt.Chart(data(cells)).encode(
        x=alt.X(f"{column}:N", title=column_title, sort=order, axis=alt.Axis(labelAngle=-45, titleAnchor="end")),
        y=alt.Y(f"{row}:N", title=row_title, sort=order),
    )
    shade = alt.Color("shade:Q", legend=None, scale=alt.Scale(scheme="blues"))
    middle = (max(r["shade"] for r in cells) + min(r["shade"] for r in cells)) / 2
    ink = alt.condition(f"datum.shade > {middle}", alt.value("white"), alt.value("black"))
    layers = [base.mark_rect().encode(color=shade), base.mark_text(fontSize=13).encode(text="text:N", color=ink)]
    return alt.LayerChart(layer=layers).properties(width=8 * CELL, height=8 * CELL * 0.62, title=title)
