"""Charts of EvoPress: whether errors add up, searches, choices beside it, the layers that stay, models on disk."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    GREY,
    HEIGHT,
    ORANGE,
    WIDE,
    WIDTH,
    Rows,
    data,
    grouped,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)


def additivity(audit: Rows, violations: Rows) -> alt.LayerChart:
    """Sum of the errors of dropped blocks alone against the error of dropping all; pairs in which more is better."""
    rows = [
        row | {"blocks": f"{len(row['dropped'])} blocks"}
        for row in some(audit, "dropped blocks")
        if len(row["dropped"]) > 1
    ]
    errors = {tuple(row["dropped"]): row for row in audit}
    pairs = [
        {"pair": index, "sum_of_errors": found["sum_of_errors"], "error": found["error"], "order": order}
        for index, row in enumerate(violations)
        for order, found in enumerate((errors[tuple(row["fewer"])], errors[tuple(row["more"])]))
    ]
    key = key_of("blocks", "dropped", rows)
    log = alt.Scale(type="log", nice=False, padding=20)
    x = alt.X("sum_of_errors:Q", title="sum of errors of each block alone (nats a token, log scale)", scale=log)
    y = alt.Y("error:Q", title="error of all together (nats a token, log scale)", scale=log)
    every = [row[which] for row in rows for which in ("sum_of_errors", "error")]
    equal = alt.Chart(data([{"sum_of_errors": v, "error": v} for v in (min(every), max(every))]))
    layers = [
        equal.mark_line(strokeDash=[6, 6], color=GREY).encode(x=x, y=y),
        alt.Chart(data(rows)).mark_point(size=60).encode(x=x, y=y, color=key.colour(), shape=key.shape()),
    ]
    if pairs:
        line = alt.Chart(data(pairs)).mark_line(color=BLACK, strokeWidth=2, point={"color": BLACK, "size": 40})
        layers.append(line.encode(x=x, y=y, detail="pair:N", order="order:Q"))
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def searches(histories: list[Rows]) -> alt.HConcatChart:
    """Divergence of the best state as windows are evaluated, EvoPress and random draws, a panel a kind."""
    rows = [row | {"value": row["divergence"]} for history in histories for row in history]
    bands = mean_bands(some(rows, "searches"), ["kind", "arm", "evaluations"])
    key = key_of("arm", "search", bands)
    panels: list[alt.LayerChart] = []
    for (kind,), found in grouped(bands, ["kind"]).items():
        x = alt.X("evaluations:Q", title="windows evaluated", axis=alt.Axis(tickCount=3))
        y = alt.Y("mean:Q", title=None if panels else "divergence (nats)", scale=alt.Scale(zero=False))
        chart = lines(found, x, y, key, markers=False)
        panels.append(chart.properties(width=WIDE / 3, height=HEIGHT / 2, title=_named(kind)))
    return styled(alt.concat(*panels, columns=3), "bottom")


def _named(kind: str) -> str:
    what, _, percent = kind.partition("-")
    return f"{percent} % of layers dropped" if percent else what


def arms(metrics: pa.Table) -> alt.HConcatChart:
    """Cross-entropy on texts apart of every arm, a panel a kind, a point a seed; the dense model's as a line."""
    values = some(metric_values(metrics, "cross_entropy"), "arms")
    dense = next(row["value"] for row in values if row["system"] == "dense")
    panels = []
    for (kind,), rows in grouped([r for r in values if r["system"] != "dense"], ["variant"]).items():
        shown = [row | {"arm": row["system"].replace("_", " ")} for row in rows]
        bands = sorted(mean_bands(shown, ["arm"]), key=lambda band: band["mean"])
        base = alt.Chart(data(shown)).encode(
            y=alt.Y("arm:N", title=None, sort=[band["arm"] for band in bands]),
            x=alt.X("value:Q", title="cross-entropy (nats a token)", scale=alt.Scale(zero=False)),
        )
        colour = alt.condition("datum.arm == 'evopress'", alt.value(BLUE), alt.value(ORANGE))
        rule = alt.Chart(data([{"value": dense}])).mark_rule(strokeDash=[6, 6], color=GREY).encode(x="value:Q")
        points = base.mark_point(filled=True, size=90, opacity=0.7).encode(color=colour)
        panels.append((rule + points).properties(width=WIDE / 3, height=HEIGHT / 2, title=_named(kind)))
    return styled(alt.concat(*panels, columns=2), "bottom")


def kept(levels: dict[str, Any]) -> alt.VConcatChart:
    """The layers that each arm keeps, a strip an arm, a panel a share of dropped layers."""
    panels = []
    for kind, found in levels.items():
        if not kind.startswith("depth"):
            continue
        rows = [
            {
                "arm": arm.replace("_", " "),
                "layer": f"{'A' if unit < len(state) // 2 else 'F'}{unit % (len(state) // 2)}",
                "place": 2 * (unit % (len(state) // 2)) + (unit >= len(state) // 2),
                "what": "dropped" if gone else "kept",
            }
            for arm, state in found.items()
            for unit, gone in enumerate(state)
        ]
        colour = alt.Color("what:N", title=None, scale=alt.Scale(domain=["kept", "dropped"], range=[BLUE, "#E5E5E5"]))
        order = [row["layer"] for row in sorted(rows, key=lambda row: row["place"])]
        strip = alt.Chart(data(rows)).mark_rect(stroke="white").encode(
            x=alt.X("layer:N", title="attention (A) and feed-forward (F) layer of each block", sort=order),
            y=alt.Y("arm:N", title=None, sort=None),
            color=colour,
        )  # fmt: skip
        panels.append(strip.properties(width=WIDE - 100, height=26 * len(found), title=_named(kind)))
    return styled(alt.vconcat(*panels), "bottom")


def realised(metrics: pa.Table) -> alt.LayerChart:
    """Bytes on disk against cross-entropy of the dense model and what was made of it."""
    found = {
        metric: {row["variant"]: row["value"] for row in some(metric_values(metrics, metric), "models")}
        for metric in ("bytes", "cross_entropy")
    }
    rows = [
        {"model": name, "kilobytes": size / 1000, "loss": found["cross_entropy"][name]}
        for name, size in found["bytes"].items()
    ]
    key = key_of("model", "model", rows)
    chart = alt.Chart(data(rows)).mark_point(filled=True, size=160, opacity=1).encode(
        x=alt.X("kilobytes:Q", title="file (kB, log scale)", scale=alt.Scale(type="log", padding=20)),
        y=alt.Y("loss:Q", title="cross-entropy (nats a token)", scale=alt.Scale(zero=False, padding=20)),
        color=key.colour(),
        shape=key.shape(),
    )  # fmt: skip
    return styled(chart.properties(width=WIDTH, height=HEIGHT))
