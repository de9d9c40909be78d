"""Charts of key-value caches of few bits: loss by bits, orders of the same bits, bits by age, bytes by tokens."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.compress.staircase_kv import staircase
from winnow.evaluate.chart_parts import (
    BLACK,
    HEIGHT,
    WIDE,
    WIDTH,
    Key,
    Rows,
    data,
    grouped,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)

LEAST = 1e-7
"""Divergence at which intervals end on a log scale."""
ORDERS = {
    "staircase": "staircase, in a chain",
    "direct": "staircase, direct",
    "spread": "spread",
    "reverse": "reverse",
}


BESIDE = {"uniform": "uniform", "staircase": "staircase", "mixed": "mixed widths"}
"""Caches whose divergence is drawn over their bits, and their names."""


def _divergences(metrics: pa.Table) -> Rows:
    """Rows of divergence with their levels, payload bits and quantised tokens."""
    bits = {(r["system"], r["variant"]): r["value"] for r in metric_values(metrics, "bits")}
    rows = []
    for row in some(metric_values(metrics, "divergence"), "caches"):
        levels, _, tokens = row["variant"].rpartition("-t")
        told = {"levels": levels, "tokens": int(tokens), "bits": bits[row["system"], row["variant"]]}
        rows.append(row | told)
    return rows


def quality(metrics: pa.Table) -> alt.HConcatChart:
    """Divergence from the full model against mean bits, one width as a line, staircases and mixed widths beside it."""
    rows = [r | {"cache": BESIDE[r["system"]]} for r in _divergences(metrics) if r["system"] in BESIDE]
    bands = mean_bands(rows, ["tokens", "cache", "levels", "bits"], (LEAST, float("inf")))
    key = key_of("cache", "cache", bands)
    x = alt.X("bits:Q", title="bits of a number", scale=alt.Scale(domain=[1, 8]))
    panels: list[Any] = []
    for (tokens,), found in grouped(bands, ["tokens"]).items():
        title = None if panels else "divergence (nats, log scale)"
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=5))
        uniform = [band for band in found if band["cache"] == "uniform"]
        others = [band for band in found if band["cache"] != "uniform"]
        named = [band for band in others if band["cache"] == BESIDE["staircase"]]
        base, words = (alt.Chart(data(those)).encode(x=x, y=y) for those in (others, named))
        layers = [
            lines(uniform, x, y, key),
            base.mark_point(filled=True, size=90, opacity=1).encode(color=key.colour(), shape=key.shape()),
            words.mark_text(align="left", dx=8, dy=-6, fontSize=13, color=BLACK).encode(text="levels:N"),
        ]
        panels.append(alt.layer(*layers).properties(width=WIDE / 2.2, height=HEIGHT, title=f"{tokens} tokens"))
    return styled(alt.concat(*panels, columns=2), "bottom")


def orders(metrics: pa.Table) -> alt.HConcatChart:
    """Divergence of every order of the same bits, a colour a set of levels, a panel a number of tokens."""
    rows = [r | {"order": ORDERS[r["system"]]} for r in _divergences(metrics) if r["system"] in ORDERS]
    bands = mean_bands(rows, ["tokens", "order", "levels"], (LEAST, float("inf")))
    key = key_of("levels", "bits, newest first", bands)
    panels: list[Any] = []
    for (tokens,), found in grouped(bands, ["tokens"]).items():
        x = alt.X("order:N", title=None, sort=list(ORDERS.values()), axis=alt.Axis(labelAngle=-35))
        title = None if panels else "divergence (nats, log scale)"
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=5))
        chart = lines(found, x, y, key, bars=True)
        panels.append(chart.properties(width=WIDE / 3, height=HEIGHT, title=f"{tokens} tokens"))
    return styled(alt.concat(*panels, columns=3), "bottom")


def ages(cut: Any, staircases: list[list[int]]) -> alt.Chart:
    """Bits of a token's numbers by its age, a line a staircase; the newest are kept in full."""
    full = cut.segment // 2
    rows = [
        {"age": max(0, age - 0.5), "bits": bits, "levels": "-".join(map(str, levels))}
        for levels in staircases
        for age, bits in enumerate([16] * full + [b for b in staircase(tuple(levels))(6) for _ in range(cut.segment)])
    ]
    key = key_of("levels", "bits, newest first", rows)
    x = alt.X("age:Q", title="age (tokens)")
    y = alt.Y("bits:Q", title="bits of a number")
    chart = alt.Chart(data(rows)).mark_line(strokeWidth=2.5, interpolate="step-after", opacity=0.8)
    return styled(chart.encode(x=x, y=y, color=key.colour()).properties(width=WIDTH, height=HEIGHT))


def sizes(rows: Rows) -> alt.HConcatChart:
    """Bytes of one head's cache against tokens, scales and zeros among them, a panel a length of segments."""
    named = [row | {"cache": f"{row['system']} {row['levels']}"} for row in some(rows, "sizes")]
    names = ["full 16", *_chosen(named, "uniform"), *_chosen(named, "staircase")]
    key = Key("cache", "cache", names)
    panels: list[Any] = []
    for (segment,), found in grouped(named, ["segment"]).items():
        longest = max(row["segments"] for row in found)
        shown = [
            {"cache": row["cache"], "tokens": row["tokens"], "kilobytes": row["bytes"] / 1000}
            for row in found
            if row["segments"] == longest and row["cache"] in names
        ]
        chart = alt.Chart(data(shown)).mark_line(strokeWidth=2).encode(
            x=alt.X("tokens:Q", title="tokens"),
            y=alt.Y("kilobytes:Q", title=None if panels else "cache of a head (kB)"),
            color=key.colour(),
        )  # fmt: skip
        title = f"segments of {segment} tokens"
        panels.append(chart.properties(width=WIDE / 2.2, height=HEIGHT, title=title))
    return styled(alt.concat(*panels, columns=2), "bottom")


def _chosen(rows: Rows, system: str) -> list[str]:
    """The two smallest caches of a system, by their bits: lines of more would hide one another."""
    last = max(row["tokens"] for row in rows)
    found = {row["cache"]: row["bytes"] for row in rows if row["system"] == system and row["tokens"] == last}
    return sorted(found, key=lambda name: (found[name], name))[:2]
