"""Charts of models, dense and compressed: how they train, what they score, weigh and cost, what each layer keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    GREY,
    HEIGHT,
    SHARE,
    VERMILION,
    WIDE,
    Rows,
    at_sparsities,
    data,
    finite,
    grouped,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    short,
    some,
    sparsity_axis,
    styled,
    titled,
)

COSTS = {"bytes": "bytes on disk", "flops": "operations per example", "latency_ms": "latency (ms)"}
SCORES = ("accuracy", "expected_calibration_error")
FORMS = {"": "with zeros, dense kernels", "slim_": "slim, dense kernels", "csr_": "sparse rows (CSR)"}
CURVE_POINTS = 200  # of a training curve; more cannot be told apart at this width


def training_curves(history: pa.Table) -> alt.HConcatChart:
    """Metrics over training steps, a line with a band per variant, a panel per metric.

    history: rows of the metrics schema with a step. Long curves are averaged to 200 points.
    """
    rows = some([r for r in history.to_pylist() if r["step"] is not None and finite(r["value"])], "steps")
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    key = key_of("variant", "model", rows)
    panels = []
    for metric in metrics:
        mine = [row for row in rows if row["metric"] == metric]
        x = alt.X("step:Q", title="optimiser step")
        y = alt.Y("mean:Q", title=titled(metric, mine), scale=alt.Scale(zero=False))
        alone = len({row["step"] for row in mine}) == 1  # a line of one point is not seen
        curves = lines(mean_bands(_thinned(mine), ["variant", "step"]), x, y, key, markers=alone)
        panels.append(curves.properties(width=WIDE / len(metrics), height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def cost_bars(metrics: pa.Table, costs: Mapping[str, str] = COSTS) -> alt.HConcatChart:
    """What each variant costs, a panel per metric, bars from zero.

    metrics: rows of the metrics schema; costs: metric -> axis title with its unit. Metrics without rows are
    left out.
    """
    panels: list[alt.LayerChart] = []
    found = {metric: metric_values(metrics, metric) for metric in costs}
    present = [metric for metric in costs if found[metric]]
    every = some([row for metric in present for row in found[metric]], ", ".join(costs))
    order = list(dict.fromkeys(row["variant"] for row in every))
    # Narrow panels have no room for four numbers; names that differ at their ends must not be cut.
    ticks = 4 if len(present) < 4 else 2
    for metric in present:
        bars = mean_bands(found[metric], ["variant"])
        labelled = [bar | {"label": short(bar["mean"])} for bar in bars]
        base = alt.Chart(data(labelled)).encode(
            x=alt.X(
                "mean:Q",
                title=costs[metric],
                axis=alt.Axis(labelExpr="format(datum.value, datum.value < 1000 ? '~g' : '~s')", tickCount=ticks),
                scale=alt.Scale(domain=[0, 1.35 * max(bar["mean"] for bar in bars)], nice=False),
            ),
            y=alt.Y(
                "variant:N", title=None, sort=order, axis=alt.Axis(labels=not panels, ticks=not panels, labelLimit=400)
            ),
        )
        text = base.mark_text(align="left", dx=5, fontSize=14).encode(text="label:N")
        panel = base.mark_bar(color=BLUE, height={"band": 0.7}) + text
        panels.append(panel.properties(width=WIDE / len(present), height=max(120, 30 * len(order))))
    return styled(alt.hconcat(*panels, spacing=30))


def speed_by_sparsity(timings: pa.Table) -> alt.HConcatChart:
    """Latency over sparsity, a line with a band per form of the model, a panel per model and batch size.

    timings: rows of the metrics schema; latency_batch<n> of models as they are, and of those with variant
    "<model>-<name>-s<percent>" also slim_latency_batch<n> and csr_latency_batch<n>. The dashed line is the
    model before pruning.
    """
    names = timings["metric"].unique().to_pylist()
    batches = sorted(int(told[1]) for name in names if (told := re.fullmatch(r"latency_batch(\d+)", name)))
    rows = some(
        [
            row | {"form": label, "batch": batch}
            for batch in batches
            for form, label in FORMS.items()
            for row in at_sparsities(timings, f"{form}latency_batch{batch}")
        ],
        "latency at a sparsity",
    )
    found = grouped(rows, ["model", "batch"])
    width, key = WIDE / len(found), key_of("form", "form", rows)
    panels: list[Any] = []
    for (model, batch), mine in found.items():
        series = mean_bands(mine, ["form", "kept"], (0, np.inf))
        x = sparsity_axis(sorted({row["kept"] for row in mine}))
        y = alt.Y("mean:Q", title=None if panels else "median latency (ms)", axis=alt.Axis(tickCount=6))
        whole = [r for r in metric_values(timings, f"latency_batch{batch}") if model.startswith(f"{r['variant']}-")]
        levels = level(float(np.mean([r["value"] for r in whole])), "before pruning", width) if whole else []
        panel = alt.layer(lines(series, x, y, key), *levels)
        panels.append(panel.properties(title=f"{model}, batch of {batch}", width=width, height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def model_scores(metrics: pa.Table, scores: Sequence[str] = SCORES) -> alt.HConcatChart:
    """Scores of every model, a panel per metric, with 95 % intervals over seeds and the mean beside them.

    metrics: rows of the metrics schema. scores: metrics, of which shares stay within 0 and 1.
    """
    found = {metric: some(metric_values(metrics, metric), metric) for metric in scores}
    order = list(dict.fromkeys(row["variant"] for rows in found.values() for row in rows))
    width = (WIDE - 100) / len(found)
    panels: list[Any] = []
    for metric, rows in found.items():
        bounds = SHARE if rows[0]["unit"] == "share" else (-np.inf, np.inf)
        points = [point | {"label": f"{point['mean']:.3f}"} for point in mean_bands(rows, ["variant"], bounds)]
        title, low, high = titled(metric, rows), min(p["low"] for p in points), max(p["high"] for p in points)
        room = max(0.01, (high - low) / 15)
        scale = alt.Scale(domain=[max(bounds[0], low - room), min(bounds[1], high + room)], nice=False)
        base = alt.Chart(data(points)).encode(
            x=alt.X("mean:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5)),
            y=alt.Y("variant:N", title=None, sort=order, axis=alt.Axis(labels=not panels, grid=True)),
        )
        interval = base.mark_rule(strokeWidth=4, color=BLUE).encode(x=alt.X("low:Q", title=title), x2="high:Q")
        place = base.mark_point(filled=True, size=110, opacity=1, color=BLUE)
        words = base.mark_text(align="left", fontSize=14, dx=8).encode(x=alt.value(width), text="label:N")
        panel = alt.layer(interval, place, words)
        panels.append(panel.properties(width=width, height=max(120, 30 * len(order))))
    return styled(alt.hconcat(*panels, spacing=70))


def reliability_diagram(reliability: pa.Table) -> alt.LayerChart:
    """Accuracy over confidence, a line per variant; on the grey diagonal confidence is what it says.

    reliability: rows of `reliability_table` and a column variant. Markers grow with their share.
    """
    rows = [row for row in reliability.to_pylist() if row["count"]]
    totals = {key[0]: sum(r["count"] for r in found) for key, found in grouped(rows, ["variant"]).items()}
    rows = [row | {"share": row["count"] / totals[row["variant"]]} for row in some(rows, "bins")]
    key = key_of("variant", "model", rows)
    unit = alt.Scale(domain=[0, 1], nice=False)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("confidence:Q", title="confidence (mean of the bin)", scale=unit),
        y=alt.Y("accuracy:Q", title="accuracy (share of the bin)", scale=unit),
        color=key.colour(),
    )
    size = alt.Size("share:Q", title="predictions", scale=alt.Scale(range=[30, 700]), legend=alt.Legend(format=".0%"))
    diagonal = alt.Chart(data([{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]))
    ideal = diagonal.mark_line(color=GREY, strokeDash=[6, 4]).encode(x="confidence:Q", y="accuracy:Q")
    points = base.mark_point(filled=True, opacity=0.8).encode(size=size, shape=key.shape())
    chart = ideal + base.mark_line(strokeWidth=2.5) + points
    return styled(chart.properties(width=460, height=460))


def accuracy_by_sparsity(metrics: pa.Table, metric: str = "accuracy") -> alt.HConcatChart:
    """A metric over sparsity, a line with a band per system, a panel per model.

    metrics: rows of the metrics schema whose variant is "<model>-s<percent>"; other rows are left out. The
    axis is logarithmic in the weights kept, so that 98, 99 and 99.5 % stand apart.
    """
    rows = some(at_sparsities(metrics, metric), f"{metric} at a sparsity")
    bounds = SHARE if rows[0]["unit"] == "share" else (-np.inf, np.inf)
    series = mean_bands(rows, ["model", "system", "kept"], bounds)
    models = list(dict.fromkeys(row["model"] for row in rows))
    key = key_of("system", "criterion", rows)
    panels = []
    for model in models:
        mine = [row for row in series if row["model"] == model]
        kept = sorted({row["kept"] for row in mine})
        x = sparsity_axis(kept)
        title = titled(metric, rows) if model == models[0] else None
        y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False))
        panels.append(lines(mine, x, y, key).properties(title=model, width=WIDE / len(models), height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30).resolve_scale(y="shared"), legend="bottom")


def density_heat_map(layers: pa.Table) -> alt.HConcatChart:
    """Weights that each layer keeps, over sparsity, a panel per system; an empty layer stands out.

    layers: columns system, sparsity [share], layer, nonzero, size; rows of one cell (seeds) are averaged.
    """
    # Every prunable parameter is a weight; without that suffix the names fit beside the cells.
    rows = [row | {"layer": row["layer"].removesuffix(".weight")} for row in some(layers.to_pylist(), "layers")]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    order = list(dict.fromkeys(row["layer"] for row in rows))
    cells = [
        {"system": system, "sparsity": f"{100 * sparsity:g} %", "layer": layer, **_density(found)}
        for (system, sparsity, layer), found in grouped(rows, ["system", "sparsity", "layer"]).items()
    ]
    columns = [f"{100 * sparsity:g} %" for sparsity in sorted({row["sparsity"] for row in rows})]
    panels = []
    for system in systems:
        base = alt.Chart(data([cell for cell in cells if cell["system"] == system])).encode(
            x=alt.X("sparsity:O", title="sparsity", sort=columns, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:N", title="layer" if system == systems[0] else None, sort=order),
        )
        colour = alt.Color(
            "density:Q",
            title="weights kept (%)",
            scale=alt.Scale(type="sqrt", range=["#F7FBFF", "#08306B"], domain=[0, 100]),
        )
        empty = alt.condition("datum.nonzero == 0", alt.value(VERMILION), colour)
        ink = alt.condition("datum.density > 25 || datum.nonzero == 0", alt.value("white"), alt.value(BLACK))
        shape = base.mark_rect(stroke="white", strokeWidth=2).encode(color=empty)
        panel = shape + base.mark_text(fontSize=15).encode(text="label:N", color=ink)
        panels.append(panel.properties(title=system, width=WIDE / len(systems), height=46 * len(order)))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def _thinned(rows: Rows) -> Rows:
    """Averages of each variant and seed over equal spans of steps, where there are too many to tell apart."""
    width = (max(row["step"] for row in rows) + 1) / CURVE_POINTS
    if width > 1:
        rows = [row | {"step": (int(row["step"] / width) + 0.5) * width} for row in rows]
    return [
        {"variant": variant, "step": step, "value": float(np.mean([row["value"] for row in found]))}
        for (variant, step, _), found in grouped(rows, ["variant", "step", "seed"]).items()
    ]


def _density(found: Rows) -> dict[str, Any]:
    """The share of weights that a layer keeps and its label: the number of weights, where it is small."""
    nonzero = float(np.mean([row["nonzero"] for row in found]))
    density = 100 * nonzero / found[0]["size"]
    label = f"n = {nonzero:.3g}" if nonzero < 10 else f"{density:.2g} %"
    return {"nonzero": nonzero, "density": density, "label": label}
