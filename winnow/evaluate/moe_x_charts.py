"""Charts of mixtures of experts: loss, units that fire, and what single units tell."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import BLUE, SHARE, WIDE, data, mean_bands, metric_values, some, styled

ARMS = {
    "dense": "dense",
    "dense_wide": "dense, all experts wide",
    "switch": "learned router",
    "relu_experts": "learned router, ReLU",
    "moe_x": "MoE-X",
    "moe_x_upcycled": "MoE-X, upcycled",
}
PANELS = {
    "cross_entropy": "cross-entropy (nats a byte)",
    "l0": "units that fire",
    "coverage": "coverage (F1)",
    "reconstruction": "reconstruction (F1)",
}
BOUNDS = {"cross_entropy": (0.0, float("inf")), "l0": (0.0, float("inf"))}
"""Of what can be above 1."""


def scores(metrics: pa.Table) -> alt.ConcatChart:
    """Mean and interval of each score, a row a kind of layer."""
    panels: list[Any] = []
    for metric, title in PANELS.items():
        rows = [row | {"layer": ARMS[row["system"]]} for row in metric_values(metrics, metric) if row["system"] in ARMS]
        base = alt.Chart(data(mean_bands(some(rows, title), ["layer"], BOUNDS.get(metric, SHARE)))).encode(
            y=alt.Y("layer:N", title=None, sort=list(ARMS.values()))
        )
        x = alt.X("mean:Q", title=title, scale=alt.Scale(zero=False, padding=20))
        chart = base.mark_point(filled=True, size=100, color=BLUE).encode(x=x) + base.mark_rule(color=BLUE).encode(
            x="low:Q", x2="high:Q"
        )
        panels.append(chart.properties(width=WIDE / 2 - 100, height=180))
    return styled(alt.concat(*panels, columns=2))
