"""Charts of bi-level pruning and its rivals: accuracy over what is kept and over cost, and how masks settle."""

from __future__ import annotations

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluate.chart_parts import (
    HEIGHT,
    SHARE,
    WIDE,
    WIDTH,
    Rows,
    at_sparsities,
    data,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)


def accuracy_over_kept(metrics: pa.Table) -> alt.HConcatChart:
    """Test accuracy over the share kept, a line an arm, a panel a kind of group."""
    rows = some(at_sparsities(metrics, "accuracy"), "accuracies of pruned models")
    kept = sorted({row["kept"] for row in rows})
    x = alt.X("kept:Q", title="kept (%, log scale)", scale=alt.Scale(type="log", nice=False, padding=14))
    x = x.axis(values=kept, labelOverlap=False)
    y = alt.Y("mean:Q", title="test accuracy", scale=alt.Scale(zero=False))
    groups, key = list(dict.fromkeys(row["model"] for row in rows)), key_of("system", "method", rows)
    charts = [
        lines(
            mean_bands([r for r in rows if r["model"] == group], ["system", "kept"], SHARE), x, y, key, bars=True
        ).properties(width=WIDE // len(groups), height=HEIGHT, title=f"{group}s")
        for group in groups
    ]
    return styled(alt.hconcat(*charts), "bottom")


def accuracy_over_cost(metrics: pa.Table) -> alt.LayerChart:
    """Mean test accuracy at the smallest share kept over the examples that it cost, a mark a method."""
    rows = some(at_sparsities(metrics, "accuracy"), "accuracies of pruned models")
    least, first = min(row["kept"] for row in rows), rows[0]["model"]
    rows = [r for r in rows if r["kept"] == least and r["model"] == first]
    cost = {(r["system"], r["variant"]): r["value"] for r in metric_values(metrics, "examples")}
    points: Rows = [
        band | {"examples": cost[band["system"], band["variant"]]}
        for band in mean_bands(rows, ["system", "variant"], SHARE)
    ]
    key = key_of("system", "method", rows)
    base = alt.Chart(data(points)).encode(
        x=alt.X("examples:Q", title="examples put forward and back (log scale)", scale=alt.Scale(type="log")),
        color=key.colour(),
    )
    title = f"test accuracy, {least:g} % of {first}s kept"
    marks = base.mark_point(filled=True, size=110, opacity=1).encode(
        y=alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False)), shape=key.shape()
    )
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    return styled((bars + marks).properties(width=WIDTH, height=HEIGHT))


def mask_overlap(metrics: pa.Table) -> alt.LayerChart:
    """Overlap of the masks of one epoch's end and the next's over steps, a line a share kept."""
    found = metrics.filter((pc.field("metric") == "mask_overlap") & (pc.field("system") == "bilevel"))
    rows = [row | {"line": row["variant"].replace("-s", ", sparsity ") + " %"} for row in found.to_pylist()]
    key = key_of("line", "masks of", some(rows, "overlaps of masks"))
    y = alt.Y("mean:Q", title="overlap with the epoch before", scale=alt.Scale(domain=SHARE))
    chart = lines(mean_bands(rows, ["line", "step"], SHARE), alt.X("step:Q", title="step"), y, key)
    return styled(chart.properties(width=WIDTH, height=HEIGHT))
