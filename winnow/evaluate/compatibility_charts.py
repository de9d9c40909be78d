"""Charts of compatibility: scores of sequences of models, their matrices, and features on a simplex in the plane."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    HEIGHT,
    SHARE,
    WIDE,
    Key,
    data,
    grouped,
    key_of,
    mean_bands,
    metric_values,
    some,
    styled,
)

NAMES = {
    "simplex_hoc": "simplex, HOC loss",
    "simplex_ce": "simplex",
    "er": "trained classifier",
    "bct": "trained, BCT",
    "distill": "trained, distillation",
}
SCENARIOS = {"sequence": "fine-tuned", "replaced": "replaced from elsewhere"}
SCORES = {"average_compatibility": "average compatibility", "average_accuracy": "average accuracy"}


def compatibility_scores(metrics: pa.Table, split: str = "open") -> alt.HConcatChart:
    """AC and AA of each method, a panel each, with 95 % intervals over seeds, a colour per scenario."""
    panels: list[Any] = []
    names = list(SCENARIOS.values())
    for metric, title in SCORES.items():
        rows = [r for r in metric_values(metrics, metric) if r["split"] == split and r["variant"] in SCENARIOS]
        rows = [r | {"method": NAMES[r["system"]], "scenario": SCENARIOS[r["variant"]]} for r in some(rows, metric)]
        base = alt.Chart(data(mean_bands(rows, ["method", "scenario"], SHARE))).encode(
            y=alt.Y("method:N", title=None, sort=list(NAMES.values()), axis=alt.Axis(labels=not panels, grid=True)),
            yOffset=alt.YOffset("scenario:N", sort=names),
            color=Key("scenario", "models", names).colour(),
        )
        x = alt.X("mean:Q", title=f"{title} (share)", scale=alt.Scale(domain=[0, 1]))
        points = base.mark_point(filled=True, size=90, opacity=1).encode(x=x, shape=Key("scenario", "", names).shape())
        panel = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=f"{title} (share)"), x2="high:Q") + points
        panels.append(panel.properties(width=(WIDE - 100) / len(SCORES), height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def matrices(cells: pa.Table, scenario: str = "sequence", split: str = "open") -> alt.HConcatChart:
    """C[t][k] of each method as a triangle of cells, mean over seeds, with the values written in.

    cells: columns system, variant, seed, split, reduce, t, k (from 1), value.
    """
    wanted = {"variant": scenario, "split": split, "reduce": "mean"}
    rows = [r for r in cells.to_pylist() if all(r[key] == value for key, value in wanted.items())]
    found = grouped(some(rows, f"{scenario} on {split} classes"), ["system"])
    means = {
        system: [
            {"t": t, "k": k, "value": float(np.mean([r["value"] for r in group]))}
            for (t, k), group in grouped(mine, ["t", "k"]).items()
        ]
        for (system,), mine in found.items()
    }
    values = [cell["value"] for group in means.values() for cell in group]
    low, high = min(values), max(values)
    scale = alt.Scale(domain=[low, high], range=["#FFFFFF", BLUE], interpolate="rgb")
    panels: list[Any] = []
    for system, group in sorted(means.items(), key=lambda pair: list(NAMES).index(pair[0])):
        labelled = [c | {"label": f"{c['value']:.2f}", "dark": c["value"] > (low + 2 * high) / 3} for c in group]
        base = alt.Chart(data(labelled)).encode(
            x=alt.X("k:O", title="gallery of model", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("t:O", title=None if panels else "queries of model", axis=alt.Axis(labels=not panels)),
        )
        text = base.mark_text(fontSize=13).encode(
            text="label:N", color=alt.condition("datum.dark", alt.value("white"), alt.value(BLACK))
        )
        panel = base.mark_rect().encode(color=alt.Color("value:Q", title="identified (share)", scale=scale)) + text
        panels.append(panel.properties(title=NAMES[system], width=190, height=190))
    return styled(alt.hconcat(*panels, spacing=24), legend="right")


def stationary_features(points: pa.Table) -> alt.HConcatChart:
    """Features of an old and a new model that share nothing but, on the left, the vertices of a triangle.

    points: columns system, model ("old" or "new"), class, x, y.
    """
    rows = some(points.to_pylist(), "features")
    models, classes = Key("model", "model", ["old", "new"]), key_of("class", "class", rows)
    panels: list[Any] = []
    for (system,), mine in sorted(grouped(rows, ["system"]).items(), reverse=True):
        reach = 1.08 * max(abs(row[axis]) for row in mine for axis in ("x", "y"))
        scale = alt.Scale(domain=[-reach, reach], nice=False)
        chart = alt.Chart(data(mine)).mark_point(size=50, opacity=0.7, strokeWidth=1.8)
        chart = chart.encode(
            x=alt.X("x:Q", title="first feature", scale=scale),
            y=alt.Y("y:Q", title=None if panels else "second feature", scale=scale),
            color=classes.colour(),
            shape=models.shape(),
        )
        panels.append(chart.properties(title=NAMES[system], width=HEIGHT - 40, height=HEIGHT - 40))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")
