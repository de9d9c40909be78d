"""Charts of a recipe for code: what each arm teaches against the raw pool, what stays, and why files go."""

from __future__ import annotations

from collections import Counter
from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    HEIGHT,
    VERMILION,
    WIDTH,
    data,
    mean_bands,
    metric_values,
    some,
    styled,
)

NAMES = {
    "raw": "raw pool",
    "exact": "without exact copies",
    "repository": "without near repositories",
    "file": "without near files",
    "chunk": "files, then chunks",
    "popular": "files, popular only",
    "filter": "files, filtered",
    "downsample": "filtered, fewer tests and data",
}
STEPS = {
    "unreadable": "unreadable files",
    "held_out": "packages held out",
    "related_to_held_out": "what is near to these",
    "exact": "exact copies",
    "near": "near copies",
    "transform": "headers",
    "filter": "filter",
    "downsample": "down-sampling",
}


def ablation(metrics: pa.Table) -> alt.LayerChart:
    """Bits a token that each arm needs less (or more) than the raw pool on packages never seen, with its interval."""
    rows = [row for row in metric_values(metrics, "bits_per_token") if row["split"] == "held_out"]
    raw = {row["seed"]: row["value"] for row in some(rows, "arms") if row["variant"] == "raw"}
    gaps = [
        {"arm": NAMES[row["variant"]], "value": row["value"] - raw[row["seed"]]}
        for row in rows
        if row["variant"] != "raw"
    ]
    base = alt.Chart(data(mean_bands(gaps, ["arm"]))).encode(
        y=alt.Y("arm:N", title=None, sort=list(NAMES.values()), axis=alt.Axis(labelLimit=320))
    )
    x = alt.X("low:Q", title="bits a token, less those of the raw pool (below 0 is better)", axis=alt.Axis(tickCount=6))
    spread = base.mark_rule(strokeWidth=3, color=BLUE).encode(x=x, x2="high:Q")
    point = base.mark_point(filled=True, size=120, color=BLUE, opacity=1).encode(x="mean:Q")
    zero = alt.Chart(data([{"at": 0}])).mark_rule(strokeDash=[8, 5], strokeWidth=2, color=BLACK).encode(x="at:Q")
    return styled((zero + spread + point).properties(width=WIDTH, height=HEIGHT - 80))


def funnel(table: pa.Table) -> alt.LayerChart:
    """Files that stay after each step, from the raw table to the pool, with forks, and by the longest arm."""
    rows = table.to_pylist()
    pool, arm = ([row for row in rows if row["arm"] == name] for name in ("pool", "downsample"))
    shown = [{"step": "raw table", "files": some(pool, "steps of the recipe")[0]["files_in"]}]
    shown += [{"step": STEPS[row["step"]], "files": row["files_out"]} for row in pool]
    shown.append({"step": "with forks", "files": some(arm, "steps of the recipe")[0]["files_in"]})
    shown += [{"step": STEPS[row["step"]], "files": row["files_out"]} for row in arm]
    base = alt.Chart(data(shown)).encode(y=alt.Y("step:N", title="after", sort=None), x=alt.X("files:Q", title="files"))
    labels = base.mark_text(align="left", dx=6, fontSize=15).encode(text="files:Q")
    return styled((base.mark_bar(color=BLUE) + labels).properties(width=WIDTH, height=HEIGHT - 80))


def reasons(dropped: pa.Table) -> alt.LayerChart:
    """How many files the filter and down-sampling drop for which first reason."""
    rows = [
        row for row in dropped.to_pylist() if row["arm"] == "downsample" and row["step"] in ("filter", "downsample")
    ]
    counts = Counter(_words(row["reason"]) for row in some(rows, "filtered files"))
    shown = [{"reason": reason, "files": count} for reason, count in counts.most_common()]
    base = alt.Chart(data(shown)).encode(
        y=alt.Y("reason:N", title="first reason", sort=None, axis=alt.Axis(labelLimit=240)),
        x=alt.X("files:Q", title="files", axis=alt.Axis(tickCount=8)),
    )
    labels = base.mark_text(align="left", dx=6, fontSize=15).encode(text="files:Q")
    return styled((base.mark_bar(color=BLUE) + labels).properties(width=WIDTH, height=26 * len(shown)))


def signal_map(signals: pa.Table) -> alt.Chart:
    """Files by the two signals that drop most of them: what stays, and what goes for one of the two or for another."""
    rows = some(signals.to_pylist(), "files")
    counts = Counter(row["dropped_by"] for row in rows if row["dropped_by"])
    x, y = ([name for name, _ in counts.most_common()] + ["mean_line", "letters"])[:2]
    names = ["kept", x, y, "another signal"]

    def fate(row: dict[str, Any]) -> str:
        return row["dropped_by"] if row["dropped_by"] in (x, y) else "another signal" if row["dropped_by"] else "kept"

    shown = [{"x": row[x], "y": row[y], "fate": _words(fate(row))} for row in rows if None not in (row[x], row[y])]
    order = [_words(name) for name in names]
    colour = alt.Scale(domain=order, range=[GREY, BLUE, VERMILION, GREEN])
    shape = alt.Scale(domain=order, range=["circle", "square", "triangle-up", "diamond"])
    chart = alt.Chart(data(shown)).mark_point(filled=True, size=45, opacity=0.6)
    chart = chart.encode(
        x=alt.X("x:Q", title=_words(x), **_axis(shown, "x")),
        y=alt.Y("y:Q", title=_words(y), **_axis(shown, "y")),
        color=alt.Color("fate:N", title="dropped for", scale=colour),
        shape=alt.Shape("fate:N", title="dropped for", scale=shape),
    )
    return styled(chart.properties(width=WIDTH, height=HEIGHT))


def _axis(rows: list[dict[str, Any]], field: str) -> dict[str, Any]:
    """Counts, of which a few are a thousand times the others, need a logarithm, and have zeros; shares need neither."""
    if max((row[field] for row in rows), default=0) <= 100:
        return {"axis": alt.Axis(tickCount=6)}
    return {"axis": alt.Axis(values=[0, 10, 100, 1000, 10_000, 100_000]), "scale": alt.Scale(type="symlog")}


def _words(name: str) -> str:
    return name.replace("_", " ")
