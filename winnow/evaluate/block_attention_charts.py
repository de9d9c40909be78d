"""Charts of attention over drawn blocks: quality at equal cost, where attention lies, the folded triangle, copies."""

from __future__ import annotations

import altair as alt
import pyarrow as pa
import torch

from winnow.compress.probabilistic_attention import (
    BlockSampler,
    expected_fraction,
    fold,
    probabilities,
    solve_budget,
)
from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    ORANGE,
    WIDE,
    WIDTH,
    Rows,
    data,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)


def quality(metrics: pa.Table) -> alt.LayerChart:
    """Cross-entropy against the share of blocks that are kept, a line a way of drawing; full attention as a level."""
    kept = {
        (row["system"], row["variant"], row["seed"]): row["value"] for row in metric_values(metrics, "expected")
    }  # fmt: skip
    values = some(metric_values(metrics, "cross_entropy"), "ways of drawing")
    rows = [
        row | {"way": row["system"].replace("_", " "), "percent": 100 * kept[key]}
        for row in values
        if (key := (row["system"], row["variant"], row["seed"])) in kept
    ]
    full = [row["value"] for row in values if row["system"] == "full" and row["variant"] == "as trained"]
    bands = mean_bands(rows, ["way", "percent"])
    x = alt.X("percent:Q", title="blocks kept (% of the triangle)")
    y = alt.Y("mean:Q", title="cross-entropy (nats a token)", scale=alt.Scale(zero=False))
    chart = alt.layer(
        lines(bands, x, y, key_of("way", "blocks drawn", bands)), *level(sum(full) / len(full), "full attention", WIDTH)
    )
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def mass(rows: Rows, width: int) -> alt.LayerChart:
    """Share of attention by distance in blocks, each layer of the model, beside the chances of two families."""
    layers = [
        row | {"value": row["mass"], "what": f"attention, layer {row['layer'] + 1}"} for row in some(rows, "masses")
    ]
    blocks = max(row["distance"] for row in rows) + 1
    fraction = expected_fraction(probabilities("window", width, blocks), sink=True)
    drawn = [
        {"distance": distance, "value": float(chance), "what": f"chance, {family}"}
        for family in ("geometric", "harmonic")
        for distance, chance in enumerate(
            probabilities(family, solve_budget(family, blocks, fraction, sink=True), blocks)
        )
    ]
    bands = mean_bands([*layers, *drawn], ["what", "distance"])
    x = alt.X("distance:Q", title="distance (blocks)")
    y = alt.Y("mean:Q", title="share of attention, or chance")
    return styled(lines(bands, x, y, key_of("what", "", bands)).properties(width=WIDTH, height=HEIGHT))


def folding(blocks: int, width: int) -> alt.HConcatChart:
    """A drawn triangle of blocks, and the same pairs folded into rows of nearly equal length."""
    fraction = expected_fraction(probabilities("window", width, blocks), sink=True)
    sampler = BlockSampler("geometric", solve_budget("geometric", blocks, fraction, sink=True))
    kept = sampler.sample(blocks)[None]
    layout = fold(kept)
    triangle = [
        {"x": column, "y": row, "half": _half(row, blocks)} for _, row, column in kept.nonzero().tolist()
    ]  # fmt: skip
    folded = [
        {"x": slot, "y": row, "half": _half(int(layout.rows[0, row, slot]), blocks)}
        for row, slot in torch.argwhere(layout.used[0]).tolist()
    ]
    panels = []
    for title, rows, tall in (("drawn", triangle, blocks), ("folded", folded, len(layout.used[0]))):
        colour = alt.Color("half:N", title="row of queries", scale=alt.Scale(range=[BLUE, ORANGE]))
        what = "block of keys" if title == "drawn" else "slot"
        chart = alt.Chart(data(rows)).mark_rect(stroke="white").encode(
            x=alt.X("x:O", title=what, scale=alt.Scale(domain=[*range(blocks)])),
            y=alt.Y("y:O", title="row", scale=alt.Scale(domain=[*range(tall)])),
            color=colour,
        )  # fmt: skip
        panels.append(chart.properties(width=WIDE / 2 - 60, height=20 * tall, title=title))
    return styled(alt.hconcat(*panels), "bottom")


def _half(row: int, blocks: int) -> str:
    return "in the first half" if row < -(-blocks // 2) else "in the second half"


def after_tuning(metrics: pa.Table) -> alt.HConcatChart:
    """Cross-entropy and the share of copied tokens that are foreseen after fine-tuning, a point a seed."""
    panels = []
    for metric, title in (("cross_entropy", "cross-entropy (nats a token)"), ("copied", "copied tokens foreseen")):
        rows = [row for row in metric_values(metrics, metric) if row["variant"] == "fine-tuned"]
        chart = alt.Chart(data(some(rows, "fine-tuned models"))).mark_point(filled=True, size=100, color=BLUE).encode(
            y=alt.Y("system:N", title=None, sort=["full", "geometric", "uniform", "window"]),
            x=alt.X("value:Q", title=title, scale=alt.Scale(zero=False, padding=20)),
        )  # fmt: skip
        panels.append(chart.properties(width=WIDE / 2 - 60, height=160))
    return styled(alt.hconcat(*panels), "bottom")
