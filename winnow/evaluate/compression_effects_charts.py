"""Chart and table of what compression does to calibration and explanations."""

from __future__ import annotations

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluate.chart_parts import (
    BLACK,
    SHARE,
    Rows,
    at_sparsities,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    sparsity_axis,
    styled,
)

PANELS = {
    "accuracy": "accuracy (share)",
    "expected_calibration_error": "calibration error (share)",
    "diffroar": "DiffROAR (share)",
    "deletion": "deletion (area)",
    "insertion": "insertion (area)",
    "surrogate": "linear surrogate (R²)",
    "survival": "features surviving (share)",
    "consistency": "prototype consistency (%)",
    "stability_hits": "prototype stability (% of hits)",
}
BOUNDS = {
    "consistency": (0.0, 100.0),
    "stability_hits": (0.0, 100.0),
    "diffroar": (-1.0, 1.0),
    "surrogate": (-np.inf, 1.0),
}
"""What a measure can be, where that is not a share."""
PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 250, 190, 3


def measured(metrics: pa.Table, survival: pa.Table) -> Rows:
    """Rows system, metric, kept [%], value, seed, of models and of their features' survival; kept 100 is dense.

    metrics: of `compression_effects`. survival: of the stage of that name, which may be empty; of its models those
    count that are in metrics, and features that are found again in a second dictionary of the dense model stand for it.
    """
    dense = metrics.filter(pc.field("system") == "dense")
    rows = []
    methods = dict(zip(metrics["variant"].to_pylist(), metrics["system"].to_pylist(), strict=True))
    matched = survival.filter(pc.field("system") == "matched_by_activation")
    for metric in PANELS:
        rows += at_sparsities(metrics, metric)
        rows += [row | {"kept": 100.0} for row in metric_values(dense, metric)]
    found = [row for row in at_sparsities(matched, "survival") if row["variant"] in methods]
    rows += [row | {"system": methods[row["variant"]]} for row in found]
    again = metric_values(matched, "refit_survival") if found else []
    rows += [row | {"system": "dense", "metric": "survival", "kept": 100.0} for row in again]
    return some(rows, "effects of compression")


def small_multiples(rows: Rows) -> alt.ConcatChart:
    """A panel a measure over sparsity, a line a pruning criterion; the dashed line is the dense model's mean."""
    pruned = some(
        [r | {"system": r["system"].replace("_", " ")} for r in rows if r["system"] != "dense"], "pruned models"
    )
    key = key_of("system", "pruned by", pruned)
    x = sparsity_axis(sorted({row["kept"] for row in pruned}))
    charts = []
    for metric, title in PANELS.items():
        own = [row for row in pruned if row["metric"] == metric]
        if not own:
            continue
        y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False))
        chart = lines(mean_bands(own, ["system", "kept"], BOUNDS.get(metric, SHARE)), x, y, key, bars=True)
        level = mean_bands([r for r in rows if r["system"] == "dense" and r["metric"] == metric], ["metric"])
        rule = alt.Chart(data(level)).mark_rule(strokeDash=[8, 5], strokeWidth=2, color=BLACK).encode(y="mean:Q")
        charts.append(alt.layer(chart, rule).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT, title=title))
    return styled(alt.concat(*charts, columns=COLUMNS), "bottom")


def as_table(rows: Rows) -> Rows:
    """Mean, 95 % interval and number of seeds of each measure, criterion and sparsity, in the order of the panels."""
    keys = ["metric", "system", "kept"]
    counts: dict[tuple, int] = {}
    for row in rows:
        key = tuple(row[k] for k in keys)
        counts[key] = counts.get(key, 0) + 1
    return [
        {
            "measure": PANELS[band["metric"]],
            "pruned by": band["system"],
            "sparsity (%)": round(100 - band["kept"], 6),
            "mean": round(band["mean"], 4),
            "low": round(band["low"], 4),
            "high": round(band["high"], 4),
            "seeds": counts[tuple(band[k] for k in keys)],
        }
        for metric in PANELS
        for band in mean_bands([r for r in rows if r["metric"] == metric], keys, BOUNDS.get(metric, SHARE))
    ]
