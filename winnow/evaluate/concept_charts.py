"""Charts of explanations by concepts: fidelity, cosines of directions, learnability, numbers of concepts, weights."""

from __future__ import annotations

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    HEIGHT,
    SHARE,
    VERMILION,
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

FIDELITIES = {
    "fidelity_aa": "from a, on a",
    "fidelity_ab": "from a, on b",
    "fidelity_bb": "from b, on b",
    "fidelity_ba": "from b, on a",
    "majority_b": "majority of b",
}

FEATURES = {
    "learnability": "by features of EfficientNet-Lite0",
    "learnability_own": "by the explained model's own features",
}

LISTED = 25
"""Concepts that a heat map of weights has, at most."""


def fidelity(metrics: pa.Table) -> alt.LayerChart:
    """Fidelity in and across probe sets over the strength of the shift, with 95 % intervals over seeds."""
    rows: Rows = []
    for metric, name in FIDELITIES.items():
        found = [r for r in metric_values(metrics, metric) if r["variant"].startswith("shift")]
        rows += [r | {"shift": float(r["variant"].removeprefix("shift")), "explanation": name} for r in found]
    bands = mean_bands(some(rows, "fidelity"), ["explanation", "shift"], SHARE)
    x = alt.X("shift:Q", title="strength of the shift of b")
    y = alt.Y("mean:Q", title="fidelity (share)", scale=alt.Scale(domain=[0, 1]))
    key = Key("explanation", "explanation", list(FIDELITIES.values()))
    return styled(lines(bands, x, y, key).properties(width=WIDTH, height=HEIGHT))


def cosines(table: pa.Table) -> alt.HConcatChart:
    """Each concept's cosine across the sets over that within a set, a panel for each strength; mean over seeds."""
    found: dict[tuple[float, str], dict[str, list[float]]] = {}
    for row in some(table.to_pylist(), "cosines"):
        found.setdefault((row["shift"], row["name"]), {}).setdefault(row["kind"], []).append(row["cosine"])
    rows: Rows = [
        {"shift": shift, "concept": name, **{kind: float(np.mean(values)) for kind, values in kinds.items()}}
        for (shift, name), kinds in found.items()
    ]
    lowest = min(min(float(row["within"]), float(row["across"])) for row in rows)
    scale = alt.Scale(domain=[min(lowest, 0.0), 1.0])
    panels: list[alt.LayerChart] = []
    for shift in sorted({row["shift"] for row in rows}):
        base = alt.Chart(data([row for row in rows if row["shift"] == shift]))
        x = alt.X("within:Q", title="cosine within a set", scale=scale)
        y = alt.Y("across:Q", title=None if panels else "cosine across sets", scale=scale)
        points = base.mark_point(filled=True, size=60, opacity=0.7, color=BLUE).encode(x=x, y=y)
        equal = alt.Chart(data([{"within": end, "across": end} for end in (min(lowest, 0.0), 1.0)]))
        line = equal.mark_line(color=BLACK, strokeDash=[8, 5]).encode(x=x, y=y)
        panels.append((line + points).properties(width=240, height=240, title=f"shift {shift:g}"))
    return styled(alt.hconcat(*panels))


def learnability(table: pa.Table) -> alt.VConcatChart:
    """Normalised average precision of each concept and class as ticks, sorted by kind; mean over seeds.

    A panel for the features of each variant: by those of published weights, and by the explained model's own.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in some(table.to_pylist(), "learnability"):
        if row["nap"] is not None and np.isfinite(row["nap"]):
            group = "class" if row["kind"] == "class" else _kind(row["name"])
            found.setdefault((row["variant"], group, row["name"]), []).append(row["nap"])
    rows = [
        {"variant": variant, "kind": kind, "name": name, "nap": float(np.mean(v))}
        for (variant, kind, name), v in sorted(found.items())
    ]
    key, variants = key_of("kind", "", rows), sorted({variant for variant, _, _ in found})
    x = alt.X("nap:Q", title="normalised average precision", scale=alt.Scale(domain=[0, 1]))
    panels = []
    for variant in variants:
        chart = alt.Chart(data([row for row in rows if row["variant"] == variant])).mark_tick(thickness=3, size=22)
        chart = chart.encode(x=x, y=alt.Y("kind:N", title=None), color=key.colour().legend(None))
        titled = {"title": FEATURES[variant]} if len(variants) > 1 else {}
        panels.append(chart.properties(width=WIDTH, height=HEIGHT / len(variants), **titled))
    return styled(alt.vconcat(*panels, spacing=14))


def _kind(name: str) -> str:
    first = name.split()[0]
    return first if first in ("part", "hue", "texture", "shape") else "hue of a part"


def truncation(metrics: pa.Table) -> alt.LayerChart:
    """Fidelity of explanations cut to fewer concepts, with 95 % intervals over seeds."""
    rows = [r for r in metric_values(metrics, "fidelity") if r["variant"].startswith("concepts_")]
    rows = [r | {"concepts": r["variant"].removeprefix("concepts_"), "explanation": "L1"} for r in rows]
    bands = mean_bands(some(rows, "fidelity by number of concepts"), ["explanation", "concepts"], SHARE)
    order = sorted({r["concepts"] for r in rows}, key=lambda name: (name == "all", int(name) if name != "all" else 0))
    x = alt.X("concepts:O", title="concepts", sort=order, axis=alt.Axis(labelAngle=0))
    y = alt.Y("mean:Q", title="fidelity (share)", scale=alt.Scale(domain=[0, 1]))
    return styled(lines(bands, x, y, Key("explanation", "", ["L1"]), bars=True).properties(width=WIDTH, height=HEIGHT))


def concept_weights(table: pa.Table) -> alt.Chart:
    """Heat map of what each concept counts for each class, the largest weights first; mean over seeds.

    table: columns class, concept, coefficient.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for row in some(table.to_pylist(), "explanations by concepts"):
        found.setdefault((str(row["class"]), row["concept"]), []).append(row["coefficient"])
    means = {key: float(np.mean(values)) for key, values in found.items()}
    largest: dict[str, float] = {}
    for (_, concept), value in means.items():
        largest[concept] = max(largest.get(concept, 0.0), abs(value))
    order = sorted(filter(largest.get, largest), key=lambda concept: (-largest[concept], concept))[:LISTED]
    rows = [{"class": c, "concept": k, "weight": w} for (c, k), w in sorted(means.items()) if k in order]
    limit = max(largest.values()) or 1.0  # all are 0 where a model predicts one class alone
    scale = alt.Scale(domain=[-limit, 0, limit], range=[BLUE, "#FFFFFF", VERMILION], interpolate="rgb")
    chart = (
        alt.Chart(data(rows))
        .mark_rect(stroke="#E5E5E5")
        .encode(
            x=alt.X("class:N", title="class", axis=alt.Axis(orient="top", labelAngle=0)),
            y=alt.Y("concept:N", title=None, sort=order),
            color=alt.Color("weight:Q", title="weight", scale=scale),
        )
    )
    return styled(chart.properties(width=90 * len({c for c, _ in means}), height=24 * len(order)))
