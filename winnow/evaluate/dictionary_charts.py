"""Charts of dictionaries: which features survive compression, what sparsity costs, how often features fire."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    HEIGHT,
    PALETTE,
    WIDE,
    WIDTH,
    at_sparsities,
    data,
    grouped,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    some,
    sparsity_axis,
    styled,
    titled,
)


def survival_by_sparsity(metrics: pa.Table) -> alt.LayerChart:
    """Share of surviving features over sparsity, a line per compressor, beside chance, another seed and a refit.

    metrics: rows of the metrics schema; `survival` with variant "<name>-s<percent>", and `chance_survival`,
    `retrained_survival` and `refit_survival` of any variant, whose means over all rows are the dashed lines.
    """
    rows = some(at_sparsities(metrics, "survival"), "survival at a sparsity")
    series = mean_bands(rows, ["model", "kept"])
    x = sparsity_axis(sorted({row["kept"] for row in series}))
    y = alt.Y("mean:Q", title="surviving features (share)", scale=alt.Scale(domain=[0, 1]))
    layers: list[Any] = [lines(series, x, y, key_of("model", "compressed model", rows))]
    # On alternating sides, since lines may lie close together.
    baselines = (
        ("refit_survival", "same model, refitted", "right"),
        ("retrained_survival", "another training seed", "left"),
        ("chance_survival", "chance", "right"),
    )
    for metric, label, side in baselines:
        values = [row["value"] for row in metric_values(metrics, metric)]
        if values:
            layers += level(float(np.mean(values)), label, WIDTH, side)
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def dictionary_pareto(metrics: pa.Table, metric: str = "fvu") -> alt.LayerChart:
    """A metric over the number of active features, a line per architecture, a marker per variant.

    metrics: rows of the metrics schema with the metric and `l0` for the same system, variant and seed. Use it
    with fvu (lower is better) and with ce_recovered (higher is better). The mean of `<metric>_of_chance`, where
    there is one, is a dashed line.
    """
    keys = ["system", "workload", "variant", "seed", "split"]
    l0 = {tuple(row[k] for k in keys): row["value"] for row in metric_values(metrics, "l0")}
    rows = [row | {"l0": l0.get(tuple(row[k] for k in keys))} for row in metric_values(metrics, metric)]
    rows = some([row for row in rows if row["l0"]], f"{metric} with l0 above 0")
    found = grouped(rows, ["system", "variant"])
    places = {key: float(np.mean([row["l0"] for row in group])) for key, group in found.items()}
    series = [row | {"l0": places[row["system"], row["variant"]]} for row in mean_bands(rows, ["system", "variant"])]
    ticks = [2.0**power for power in range(-3, 16)]
    x = alt.X(
        "l0:Q",
        title="active features per row (L0, log scale)",
        axis=alt.Axis(values=ticks, format="~g"),
        scale=alt.Scale(type="log", nice=False, padding=20),
    )
    y = alt.Y("mean:Q", title=titled(metric, rows), scale=alt.Scale(zero=False))
    key = key_of("system", "architecture", rows)
    chance = [row["value"] for row in metric_values(metrics, f"{metric}_of_chance")]
    levels = level(float(np.mean(chance)), "chance", WIDTH) if chance else []
    chart = alt.layer(lines(series, x, y, key, bars=True), *levels)
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def density_histogram(features: pa.Table) -> alt.HConcatChart:
    """How often features fire: a histogram over the logarithm of the density, a panel per variant.

    features: columns variant, density [share of rows on which the feature fires]; those that never fire are
    counted in the panel's title.
    """
    rows = some(features.to_pylist(), "features")
    fired = np.log10([row["density"] for row in rows if row["density"] > 0] or [0.1])
    edges = np.linspace(min(np.floor(fired.min()), -1), 0, 31)
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    panels = []
    for variant, colour in zip(variants, PALETTE * len(variants), strict=False):
        density = np.array([row["density"] for row in rows if row["variant"] == variant])
        count, _ = np.histogram(np.log10(density[density > 0]), edges)
        bars = [
            {"low": a, "high": b, "count": n} for a, b, n in zip(edges[:-1], edges[1:], count.tolist(), strict=True)
        ]
        chart = alt.Chart(data(bars)).mark_bar(color=colour, binSpacing=1)
        chart = chart.encode(
            x=alt.X(
                "low:Q",
                title="log10 of the share of rows",
                bin="binned",
                scale=alt.Scale(domain=[edges[0], 0]),
            ),
            x2="high:Q",
            y=alt.Y("count:Q", title="features" if variant == variants[0] else None, axis=alt.Axis(tickCount=6)),
        )
        title = f"{variant}: {int((density == 0).sum())} of {len(density)} silent"
        panels.append(chart.properties(title=title, width=WIDE / len(variants), height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30).resolve_scale(y="shared"))
