"""The table of measures held against known answers."""

from __future__ import annotations

import altair as alt

from winnow.evaluate.chart_parts import BLACK, BLUE, ORANGE, Rows, data, grouped, mean_bands, some, styled
from winnow.evaluate.known_answers import ENOUGH

BOUNDS = (-1.0, 1.0)


def answers(rows: Rows) -> alt.HConcatChart:
    """A line a measure: score and floor with 95 % intervals over seeds, and whether what was planted is recovered."""
    names = {"score": "what was planted", "floor": "floor: another draw"}
    found: Rows = []
    for (measure, seed), mine in grouped(some(rows, "scores"), ["measure", "seed"]).items():
        for field, name in names.items():
            value = sum(row[field] for row in mine) / len(mine)
            found.append({"measure": measure, "seed": seed, "against": name, "value": value})
    bands, order = mean_bands(found, ["measure", "against"], BOUNDS), list(dict.fromkeys(r["measure"] for r in found))
    words = []
    for measure in order:
        score, floor = (
            [row["value"] for row in found if row["measure"] == measure and row["against"] == name]
            for name in names.values()
        )
        verdict = "recovered" if min(score) >= ENOUGH else "missed" if max(score) < ENOUGH else "not at every seed"
        told = (f"{sum(score) / len(score):.2f}", f"{sum(floor) / len(floor):.2f}", verdict)
        words += [
            {"measure": measure, "column": column, "cell": cell}
            for column, cell in zip(("score", "floor", "verdict"), told, strict=True)
        ]
    y = alt.Y("measure:N", title=None, sort=order, axis=alt.Axis(labelLimit=400, minExtent=260, grid=True))
    scale = alt.Scale(domain=list(names.values()), range=[BLUE, ORANGE])
    title, extent = "agreement (1 perfect, 0 chance)", alt.Scale(domain=list(BOUNDS))
    x = alt.X("mean:Q", title=title, scale=extent)
    base = alt.Chart(data(bands)).encode(y=y, color=alt.Color("against:N", title=None, scale=scale))
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x, shape=alt.Shape("against:N", title=None, scale=alt.Scale(domain=list(names.values())))
    )
    enough = alt.Chart(data([{"mean": ENOUGH}])).mark_rule(strokeDash=[8, 5], color=BLACK).encode(x=x)
    size = {"width": 380, "height": 26 * len(order)}
    drawn = alt.layer(enough, bars, points).properties(**size)
    columns = alt.X(
        "column:N", title=None, sort=["score", "floor", "verdict"], axis=alt.Axis(orient="top", labelAngle=0)
    )
    cells = alt.Chart(data(words)).mark_text(fontSize=14).encode(
        x=columns, y=alt.Y("measure:N", sort=order, axis=None), text="cell:N"
    )  # fmt: skip
    return styled(alt.hconcat(drawn, cells.properties(width=270, height=size["height"])), "bottom")
