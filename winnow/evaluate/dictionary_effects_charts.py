"""Chart and table of dictionaries under compression."""

from __future__ import annotations

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import BLUE, HEIGHT, WIDE, data, mean_bands, metric_values, some, styled

PANELS = {
    "ce_recovered_mean": "loss kept by its own",
    "transferred_ce_recovered_mean": "loss kept by the dense one's",
    "survival": "features found again",
    "circuit_overlap": "strongest features shared",
}


def effects(metrics: pa.Table) -> alt.HConcatChart:
    """A panel for each metric of PANELS, a row for each model, means and 95 % intervals over seeds.

    metrics: rows of the metrics schema, whose variants are models and `refitted`.
    """
    names = list(dict.fromkeys(metrics["variant"].to_pylist()))
    panels = []
    for number, (metric, title) in enumerate(PANELS.items()):
        rows = mean_bands(some(metric_values(metrics, metric), metric), ["variant"], (float("-inf"), 1.0))
        axis = alt.Axis(labelLimit=300) if number == 0 else alt.Axis(labels=False, ticks=False)
        y = alt.Y("variant:N", title=None, sort=names, scale=alt.Scale(domain=names), axis=axis)
        lowest = min(0.0, *(row["low"] for row in rows))
        x = alt.X("mean:Q", title=title, scale=alt.Scale(domain=[max(lowest, -1), 1]), axis=alt.Axis(tickCount=3))
        base = alt.Chart(data(rows)).encode(y=y)
        interval = base.mark_rule(strokeWidth=2, color=BLUE, clip=True).encode(x=x, x2="high:Q")
        interval.encoding.x.shorthand = "low:Q"
        points = base.mark_point(filled=True, size=90, opacity=1, color=BLUE, clip=True).encode(x=x.copy())
        points.encoding.x.shorthand = "mean:Q"
        panels.append(alt.layer(interval, points).properties(width=WIDE / len(PANELS), height=HEIGHT * 0.7))
    return styled(alt.hconcat(*panels, spacing=22))


def effects_table(metrics: pa.Table) -> pa.Table:
    """A row for each variant, in order, and the mean over seeds of each metric; empty where it has none."""
    rows = [row for row in metrics.to_pylist() if row["value"] is not None]
    columns = list(dict.fromkeys(metrics["metric"].to_pylist()))
    variants = list(dict.fromkeys(metrics["variant"].to_pylist()))
    means = {(band["variant"], band["metric"]): band["mean"] for band in mean_bands(rows, ["variant", "metric"])}
    table = {"model": variants, **{name: [means.get((v, name)) for v in variants] for name in columns}}
    return pa.table(table)
