"""Charts of language models: how they learn, how fast they write, and what is left of them after compression."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    HEIGHT,
    WIDE,
    Rows,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.evaluate.model_charts import _thinned, cost_bars

COMPRESSED = {
    "bits_per_byte": "bits a byte",
    "bytes": "bytes on disk",
    "peak_bytes": "peak bytes in memory",
    "cache_bytes": "bytes of the cache",
    "drawn_per_second": "tokens drawn / CPU s",
}
"""Metric -> title of its axis."""
LETTER, LINE = 7, 14
"""Pixels of a letter's width and a line's height, of names in a chart."""


def learning(history: pa.Table, metrics: pa.Table) -> alt.LayerChart:
    """Bits a byte over the steps of training: of batches as lines, of the valid split as points, n-grams as levels.

    history: rows with bits_per_byte and valid_bits_per_byte at steps. metrics: bits_per_byte of the valid split too.
    """
    steps = history.to_pylist()
    batches = some([row for row in steps if row["metric"] == "bits_per_byte"], "steps of training")
    key = key_of("variant", "model", batches)
    last = max(row["step"] for row in batches)
    judged = [row for row in metric_values(metrics, "bits_per_byte") if row["split"] == "valid"]
    levels = [row for row in judged if row["variant"].endswith("gram")]
    points = mean_bands([row for row in steps if row["metric"] == "valid_bits_per_byte"], ["variant", "step"])
    seen = [row["value"] for row in batches if row["step"] > last / 20] + [row["value"] for row in levels]
    high = 1.05 * max(seen)
    scale = alt.Scale(domain=[0.95 * min(seen), high], nice=False)
    x = alt.X("step:Q", title="optimiser step", scale=alt.Scale(domain=[0, 1.02 * last], nice=False))
    y = alt.Y("mean:Q", title="bits a byte", scale=scale)
    # A line beyond the axis would be drawn over what stands above the panel.
    within = [row for row in mean_bands(_thinned(batches), ["variant", "step"]) if row["mean"] <= high]
    curves = lines(within, x, y, key, markers=False)
    layers: list[Any] = [curves]
    if points:
        base = alt.Chart(data(points)).encode(x=x, y=y)
        layers.append(base.mark_point(filled=True, size=130, opacity=1).encode(color=key.colour(), shape=key.shape()))
    for row in mean_bands(levels, ["variant"]):
        line = alt.Chart(data([row])).encode(y=y)
        layers.append(line.mark_rule(strokeDash=[8, 5], strokeWidth=2, color=BLACK))
        words = line.mark_text(align="right", baseline="bottom", dx=-4, dy=-3, fontSize=14)
        layers.append(words.encode(x=alt.value(WIDE), text="variant:N"))
    return styled(alt.layer(*layers).properties(width=WIDE, height=HEIGHT), legend="bottom")


def speeds(timings: pa.Table) -> alt.LayerChart:
    """Tokens drawn in a second of CPU time against texts side by side, a line a model; both axes logarithmic.

    timings: rows of tokens_per_second_batch<n>.
    """
    rows: Rows = []
    for row in timings.to_pylist():
        _, told, batch = row["metric"].partition("tokens_per_second_batch")
        rows += [row | {"batch": int(batch)}] if told else []
    key = key_of("variant", "model", some(rows, "speeds"))
    batches = sorted({row["batch"] for row in rows})
    log = alt.Scale(type="log")
    x = alt.X("batch:Q", title="texts side by side", scale=log, axis=alt.Axis(values=batches, format="d"))
    y = alt.Y("mean:Q", title="tokens a second of CPU time", scale=log, axis=alt.Axis(format="~s", tickCount=6))
    chart = lines(mean_bands(rows, ["variant", "batch"], (1e-3, float("inf"))), x, y, key)
    return styled(chart.properties(width=WIDE, height=HEIGHT), legend="bottom")


def costs(metrics: pa.Table, timings: pa.Table) -> alt.HConcatChart:
    """What each model needs, a panel for each cost; compressed ones stand below the dense model they came from.

    Both: rows whose system is the dense model that a variant came from.
    """
    table = pa.concat_tables([metrics, timings])
    rows = table.select(["system", "variant"]).to_pylist()
    dense = list(dict.fromkeys(row["system"] for row in rows))
    place = [(dense.index(row["system"]), row["variant"] != row["system"]) for row in rows]
    return cost_bars(table.take(sorted(range(len(rows)), key=place.__getitem__)), COMPRESSED)


def trade(metrics: pa.Table) -> alt.LayerChart:
    """Bits a byte against bytes on disk, a point for each model with its name, a colour for each dense model.

    metrics: rows of bits_per_byte and bytes whose system is the dense model that a variant came from.
    """
    return _against(metrics, "bytes", 1000, "kilobytes on disk (log scale)")


def by_parameters(metrics: pa.Table) -> alt.LayerChart:
    """Bits a byte against parameters, as `trade` against bytes.

    metrics: rows of bits_per_byte and parameters whose system is the dense model that a variant came from.
    """
    return _against(metrics, "parameters", 1, "parameters other than zero (log scale)")


def _against(metrics: pa.Table, metric: str, unit: float, title: str) -> alt.LayerChart:
    told, found = (mean_bands(metric_values(metrics, m), ["system", "variant"]) for m in ("bits_per_byte", metric))
    sizes = {(row["system"], row["variant"]): row["mean"] for row in found}
    measured = [row for row in told if (row["system"], row["variant"]) in sizes]
    rows = [row | {"size": sizes[row["system"], row["variant"]] / unit} for row in some(measured, "models")]
    key = key_of("system", "dense model", rows)
    # Names stand to the right of their points, so the axis ends far beyond the last.
    across = (0.8 * min(row["size"] for row in rows), 2.2 * max(row["size"] for row in rows))
    means = [row["mean"] for row in rows]
    margin = 0.08 * (max(means) - min(means)) or 0.1
    upward = (min(means) - margin, max(means) + margin)
    height = HEIGHT + 120
    placed = _apart(rows, across, upward, height)
    x = alt.X("size:Q", title=title)
    x = x.scale(type="log", domain=across, nice=False).axis(tickCount=6, format="~s")
    y = alt.Y("mean:Q", title="bits a byte", scale=alt.Scale(domain=upward, nice=False))
    base = alt.Chart(data(placed)).encode(x=x, y=y)
    points = base.mark_point(filled=True, size=110, opacity=1).encode(color=key.colour(), shape=key.shape())
    words = base.mark_text(align="left", dx=9, fontSize=12, color=BLACK).encode(y="at:Q", text="variant:N")
    return styled(alt.layer(points, words).properties(width=WIDE, height=height), legend="bottom")


def _apart(rows: Rows, across: tuple[float, float], upward: tuple[float, float], height: int) -> Rows:
    """The rows with where their names are written on the vertical axis, `at`: names that would overlap move down.

    Those that would leave the picture below move up again, and push the others before them.
    """
    line, scale = LINE * (upward[1] - upward[0]) / height, WIDE / math.log(across[1] / across[0])

    def moved(rows: Rows, step: float) -> Rows:
        settled: Rows = []
        for row in rows:
            at = row["at"]
            for other in sorted(settled, key=lambda other: other["at"] * step):
                if (
                    row["left"] < other["right"]
                    and other["left"] < row["right"]
                    and abs(at - other["at"]) < 0.99 * line
                ):
                    at = other["at"] + step
            settled.append(row | {"at": at})
        return settled

    named: Rows = []
    for row in sorted(rows, key=lambda row: -row["mean"]):
        left = scale * math.log(row["size"] / across[0])
        named.append(row | {"at": row["mean"], "left": left, "right": left + LETTER * len(row["variant"])})
    lowest = upward[0] + line / 2
    inside = [row | {"at": max(row["at"], lowest)} for row in moved(named, -line)]
    return moved(sorted(inside, key=lambda row: row["at"]), line)
