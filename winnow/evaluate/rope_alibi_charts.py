"""Charts of positions: loss by length of the context, loss within a long window, and the biases of each head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    HEIGHT,
    WIDE,
    WIDTH,
    Key,
    Rows,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.models.positions import BIASED, HARMONIC_STRENGTH, Mode, by_distance

SWEPT = {"additive_harmonic": "harmonic", "geometric": "geometric"}

LABELS = {
    "rope": "RoPE",
    "alibi": "ALiBi",
    "geometric": "RoPE and ALiBi",
    "additive_harmonic": "RoPE, harmonic slopes",
    "harmonic_number": "RoPE, harmonic numbers",
    "factored": "RoPE, factored decay",
    "split": "heads split",
    "none": "no positions",
}


def _label(arm: str) -> str:
    mode, comma, rest = arm.partition(",")
    return LABELS[mode] + comma + rest


def lengths(metrics: pa.Table, context: int) -> alt.LayerChart:
    """Loss of the same bytes against the length of the context, a line for each way; the trained length is marked."""
    rows = []
    for row in metric_values(metrics, "cross_entropy"):
        told = re.fullmatch(r"length (\d+)(.*)", row["variant"])
        if told and row["system"] in LABELS and "strength" not in told[2]:
            rows.append(row | {"arm": _label(row["system"] + told[2]), "length": int(told[1])})
    bands = mean_bands(some(rows, "losses by length"), ["arm", "length"])
    ticks = sorted({row["length"] for row in rows})
    scale = alt.Scale(type="log", nice=False, padding=16)
    x = alt.X("length:Q", title="context (bytes, log scale)", scale=scale, axis=alt.Axis(values=ticks))
    y = alt.Y("mean:Q", title="cross-entropy (nats a byte)", scale=alt.Scale(zero=False))
    chart = lines(bands, x, y, key_of("arm", "positions", bands)) + _trained("length", context)
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def strengths(metrics: pa.Table, context: int) -> Any:
    """Loss against the strength of slopes, a line a kind, at the trained length and at the longest.

    A sentence where neither kind was run.
    """
    rows = []
    for row in metric_values(metrics, "cross_entropy"):
        told = re.fullmatch(r"length (\d+)(?:, strength (.+))?", row["variant"])
        if told and row["system"] in SWEPT:
            strength = float(told[2] or (HARMONIC_STRENGTH if row["system"] == "additive_harmonic" else 1.0))
            rows.append(row | {"slopes": SWEPT[row["system"]], "length": int(told[1]), "strength": strength})
    if not rows:
        return _said("no mode whose strength is varied was run")
    longest = max(row["length"] for row in rows)
    panels: list[Any] = []
    for length in (context, longest):
        bands = mean_bands([row for row in rows if row["length"] == length], ["slopes", "strength"])
        ticks = sorted({band["strength"] for band in bands if band["strength"] > 0})
        axis = alt.Axis(values=ticks, labelAngle=-45)
        x = alt.X("strength:Q", title="strength (log scale)", scale=alt.Scale(type="log", padding=12), axis=axis)
        y = alt.Y("mean:Q", title="cross-entropy (nats a byte)", scale=alt.Scale(zero=False))
        chart = lines([band for band in bands if band["strength"] > 0], x, y, key_of("slopes", "slopes", bands))
        panels.append(chart.properties(width=WIDE / 2 - 60, height=260, title=f"context of {length} bytes"))
    return styled(alt.hconcat(*panels), "bottom")


def profile(rows: Rows, context: int) -> alt.LayerChart:
    """Loss by place in the longest window, a line for each way."""
    usual = [row for row in some(rows, "losses by place") if "strength" not in row["arm"]]
    named = [row | {"way": _label(row["arm"])} for row in usual]
    bands = mean_bands(named, ["way", "position"])
    x = alt.X("position:Q", title="place in the window (bytes)")
    y = alt.Y("mean:Q", title="cross-entropy (nats a byte)", scale=alt.Scale(zero=False))
    chart = lines(bands, x, y, key_of("way", "positions", bands), markers=False) + _trained("position", context)
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def _trained(field: str, context: int) -> alt.Chart:
    return alt.Chart(data([{field: context}])).mark_rule(strokeDash=[8, 5], color=BLACK).encode(x=f"{field}:Q")


def _said(text: str) -> Any:
    """A sentence in place of a chart."""
    chart = alt.Chart(data([{"text": text}])).mark_text(fontSize=16).encode(text="text:N")
    return styled(chart.properties(width=WIDTH, height=60))


def biases(modes: Sequence[Mode], heads: int, most: int) -> Any:
    """What each head adds to a score at each distance, or for the factored decay multiplies it by, a panel a mode.

    A sentence where no mode has a bias.
    """
    panels: list[Any] = []
    names = [f"{h + 1}" for h in range(heads)]
    for mode in [m for m in modes if m in BIASED]:
        table = by_distance(mode, heads, most)
        rows = [
            {"head": names[h], "distance": d, "mean": float(table[h, d])} for h in range(heads) for d in range(most + 1)
        ]
        x = alt.X("distance:Q", title="distance (bytes)")
        y = alt.Y("mean:Q", title="times score" if mode == "factored" else "added to score")
        line = alt.Chart(data(rows)).mark_line(strokeWidth=2.5)
        chart = line.encode(x=x, y=y, color=Key("head", "head", names).colour())
        panels.append(chart.properties(width=WIDE / 2 - 100, height=170, title=LABELS[mode]))
    return styled(alt.concat(*panels, columns=2), "bottom") if panels else _said("no mode with a bias was run")
