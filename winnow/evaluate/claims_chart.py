"""The chart of the claims ledger."""

from __future__ import annotations

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    WIDTH,
    data,
    grouped,
    styled,
)
from winnow.evaluate.claims import VERDICTS

VERDICT_COLOURS = dict(zip(VERDICTS, [GREEN, ORANGE, VERMILION, GREY, GREY], strict=True))


def claims_forest(claims: pa.Table) -> alt.VConcatChart:
    """The effect and interval of each claim that was judged, a panel per unit, coloured by verdict.

    claims: from `evaluate_claims`; overall rows are drawn. The black tick is the smallest effect that counts,
    or both bounds for equivalence. Where no claim was judged, as at smoke scale, the chart says so.
    """
    overall = [row for row in claims.to_pylist() if row["point"] is None]
    rows = [row for row in overall if row["effect"] is not None]
    if not rows:
        words = alt.Chart(data([{"text": f"None of {len(overall)} claims was judged in this run"}]))
        return styled(alt.vconcat(words.mark_text(fontSize=18).encode(text="text:N").properties(width=WIDTH)))
    colour = alt.Color(
        "verdict:N",
        legend=None,
        scale=alt.Scale(domain=list(VERDICTS[:3]), range=[VERDICT_COLOURS[v] for v in VERDICTS[:3]]),
    )
    panels = []
    for (unit,), found in grouped(rows, ["unit"]).items():
        found = [row | {"label": f"{row['verdict']} (n = {row['n']})"} for row in found]
        title = "ratio (log scale)" if unit == "ratio" else f"difference ({unit})" if unit else "difference"
        scale = alt.Scale(type="log", nice=False, padding=30) if unit == "ratio" else alt.Scale(padding=30)
        base = alt.Chart(data(found)).encode(
            x=alt.X("effect:Q", title=title, scale=scale),
            y=alt.Y("claim:N", title=None, sort=[row["claim"] for row in found], axis=alt.Axis(labelLimit=420)),
        )
        interval = base.mark_rule(strokeWidth=4).encode(x=alt.X("low:Q", title=title), x2="high:Q", color=colour)
        effect = base.mark_point(filled=True, size=110, opacity=1).encode(color=colour)
        bounds = [base.mark_tick(thickness=2, size=26, color=BLACK).encode(x=f"{k}:Q") for k in ("smallest", "largest")]
        words = base.mark_text(align="left", fontSize=14, dx=8).encode(x=alt.value(430), text="label:N")
        panel = alt.layer(interval, *bounds, effect, words)
        panels.append(panel.properties(width=430, height=44 * len(found)))
    return styled(alt.vconcat(*panels, spacing=20))
