"""Charts of paging with predicted bits: what they save on traces, what errors cost, and who faults when."""

from __future__ import annotations

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    GREY,
    HEIGHT,
    WIDE,
    data,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)

FLIPPED = {"evict told as keep": "bits told as 0 that are 1", "keep told as evict": "bits told as 1 that are 0"}
"""Which true bits were flipped, as in the table, and what is said of them."""


def gap_closed(metrics: pa.Table) -> alt.HConcatChart:
    """Share of the way from LRU to the optimum that each policy goes, a panel a trace, a line a policy."""
    rows = []
    for row in some(metric_values(metrics, "gap_closed"), "policies on traces"):
        policy, trace, percent = row["variant"].rsplit("-", 2)
        # The ends of the axis, and what would be more than there are colours.
        if policy not in ("lru", "fifo", "mark0_returning", "lfd"):
            rows.append(row | {"policy": policy.replace("_", " "), "trace": trace, "percent": float(percent)})
    key = key_of("policy", "policy", rows)
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    x = alt.X("percent:Q", title="cache (% of pages)", scale=alt.Scale(padding=20), axis=alt.Axis(tickMinStep=5))
    y = alt.Y("mean:Q", title="share of the gap from LRU to the optimum")
    panels = []
    for trace in traces:
        bands = mean_bands([r for r in rows if r["trace"] == trace], ["policy", "percent"])
        chart = alt.layer(lines(bands, x, y, key, bars=True), *level(0, "LRU", WIDE / len(traces), "left"))
        panels.append(chart.properties(width=WIDE / len(traces), height=HEIGHT, title=trace))
    return styled(alt.hconcat(*panels), "bottom")


def cost_of_errors(noise: pa.Table) -> alt.VConcatChart:
    """Faults over the optimum as true bits are flipped, and the bound where there is one.

    A row of panels for bits that are flipped from 0 to 1 and one for those from 1 to 0, a panel a policy.
    """
    rows = [
        {
            "policy": row["policy"].replace("_", " "),
            "flipped": row["flipped"],
            "line": f"{row['trace']}: {what}",
            "error": (row["eta_0"] + row["eta_1"]) / row["optimum"],
            "mean": value / row["optimum"],
        }
        for row in some([row for row in noise.to_pylist() if row["flipped"] in FLIPPED], "flipped bits")
        for what, value in (("faults", row["faults"]), ("bound", row["bound"]))
        if value is not None
    ]
    for row in rows:
        row["low"] = row["high"] = row["mean"]
    key = key_of("line", "trace", rows)
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    x = alt.X("error:Q", title="wrong bits / optimum")
    y = alt.Y("mean:Q", title="faults / optimum (log scale)", scale=alt.Scale(type="log"))

    def panel(policy: str, flipped: str) -> alt.LayerChart:
        those = [r for r in rows if (r["policy"], r["flipped"]) == (policy, flipped)]
        title = {"text": policy, "subtitle": FLIPPED[flipped]}
        return lines(those, x, y, key).properties(width=WIDE / len(policies) - 20, height=HEIGHT, title=title)

    found = [alt.hconcat(*(panel(policy, flipped) for policy in policies)) for flipped in FLIPPED]
    return styled(alt.vconcat(*found), "bottom")


def fault_raster(timeline: pa.Table) -> alt.LayerChart:
    """One tick a request and policy: dark where the page was missing."""
    rows = some(timeline.to_pylist(), "requests")
    shares = {p: np.mean([not r["hit"] for r in rows if r["policy"] == p]) for p in {r["policy"] for r in rows}}
    shown = [
        {
            "request": row["request"],
            "policy": f"{row['policy'].replace('_', ' ')} ({100 * shares[row['policy']]:.0f} %)",
            "what": "hit" if row["hit"] else "fault",
        }
        for row in rows
    ]
    colour = alt.Color("what:N", title=None, scale=alt.Scale(domain=["fault", "hit"], range=[BLUE, GREY]))
    ticks = (
        alt.Chart(data(shown))
        .mark_tick(thickness=2, height=40)
        .encode(
            x=alt.X("request:Q", title="request"),
            y=alt.Y("policy:N", title="policy (faults)", sort=None, axis=alt.Axis(labelLimit=400, titlePadding=25)),
            color=colour,
            opacity=alt.condition("datum.what == 'fault'", alt.value(1), alt.value(0.25)),
        )
    )
    return styled(ticks.properties(width=WIDE - 160, height=260), "bottom")
