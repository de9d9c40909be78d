"""Charts of language models: how they learn, how fast they write, and what is left of them after compression."""

from __future__ import annotations

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
from winnow.evaluate.model_charts import _thinned

COMPRESSED = {
    "bits_per_byte": "bits a byte",
    "bytes": "bytes on disk",
    "peak_bytes": "peak bytes in memory",
    "cache_bytes": "bytes of the cache",
    "drawn_per_second": "tokens drawn / CPU s",
}
"""Metric -> title of its axis."""


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
    scale = alt.Scale(domain=[0.95 * min(seen), 1.05 * max(seen)], nice=False)
    x = alt.X("step:Q", title="optimiser step", scale=alt.Scale(domain=[0, 1.02 * last], nice=False))
    y = alt.Y("mean:Q", title="bits a byte", scale=scale)
    curves = lines(mean_bands(_thinned(batches), ["variant", "step"]), x, y, key, markers=False)
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


def trade(metrics: pa.Table) -> alt.LayerChart:
    """Bits a byte against bytes on disk, a point for each model with its name, a colour for each dense model.

    metrics: rows of bits_per_byte and bytes whose system is the dense model that a variant came from.
    """
    told, bytes_ = (mean_bands(metric_values(metrics, m), ["system", "variant"]) for m in ("bits_per_byte", "bytes"))
    sizes = {(row["system"], row["variant"]): row["mean"] for row in bytes_}
    rows = [row | {"kilobytes": sizes[row["system"], row["variant"]] / 1000} for row in some(told, "models")]
    key = key_of("system", "dense model", rows)
    x = alt.X("kilobytes:Q", title="kilobytes on disk (log scale)", scale=alt.Scale(type="log", padding=60))
    y = alt.Y("mean:Q", title="bits a byte", scale=alt.Scale(zero=False))
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    points = base.mark_point(filled=True, size=110, opacity=1).encode(color=key.colour(), shape=key.shape())
    words = base.mark_text(align="left", dx=9, dy=-6, fontSize=12, color=BLACK).encode(text="variant:N")
    return styled(alt.layer(points, words).properties(width=WIDE, height=HEIGHT + 120), legend="bottom")
