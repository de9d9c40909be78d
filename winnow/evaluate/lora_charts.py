"""Charts of fast gradients of adapters: errors by entries and degree, and entries of real heads."""

from __future__ import annotations

from typing import Any

import altair as alt

from winnow.evaluate.chart_parts import HEIGHT, WIDE, WIDTH, Rows, key_of, level, lines, mean_bands, some, styled


def errors(rows: Rows) -> alt.ConcatChart:
    """Relative error against the largest entry, a line a degree, a panel for the partial and the full case."""
    panels: list[Any] = []
    for case in ("partial", "full"):
        mine = [
            row | {"value": max(row["error"], 1e-16), "terms": f"{row['degree']}"}
            for row in some(rows, "errors")
            if row["case"] == case
        ]
        bands = mean_bands(mine, ["terms", "gamma"], (1e-16, float("inf")))
        x = alt.X("gamma:Q", title="largest entry of queries and keys")
        y = alt.Y("mean:Q", title="relative error", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e"))
        chart = lines(bands, x, y, key_of("terms", "degree", bands))
        panels.append(chart.properties(width=WIDE / 2 - 100, height=260, title=f"{case} adapters"))
    return styled(alt.concat(*panels, columns=2), "bottom")


def growth(rows: Rows) -> alt.LayerChart:
    """The largest entry of any head as adapters are trained, a line for each alpha / r; the bound as a level."""
    tops: dict[tuple[float, int, int], float] = {}
    for row in some(rows, "entries of heads"):
        at = (row["gain"], row["step"], row["seed"])
        tops[at] = max(tops.get(at, 0.0), row["query"], row["key"])
    found = [{"gain": f"{gain:g}", "step": step, "value": top} for (gain, step, _), top in tops.items()]
    bands = mean_bands(found, ["gain", "step"])
    x, y = alt.X("step:Q", title="steps"), alt.Y("mean:Q", title="largest entry of queries and keys")
    chart = alt.layer(
        lines(bands, x, y, key_of("gain", "alpha / r", bands)), *level(rows[0]["bound"], "sqrt(log L)", WIDTH)
    )
    return styled(chart.properties(width=WIDTH, height=HEIGHT))
