"""Charts of a recipe for code models after its corpus: mixtures of the decay, stages of tuning, and verification."""

from __future__ import annotations

from collections import Counter
from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import BLACK, BLUE, Rows, data, key_of, mean_bands, metric_values, some, styled

PANEL, ROW = 210, 34
SPLITS = {
    "held_out": "packages never seen",
    "functions": "bodies of their functions",
    "exercises": "bodies of exercises",
}
FAULTS = {"": "none", "step": "a wrong step", "return": "no answer", "name": "a wrong name", "loop": "no end"}


def annealing(metrics: pa.Table) -> alt.HConcatChart:
    """Bits a byte that each mixture needs less (or more) than the plain decay, with intervals, of three texts."""
    rows = [row for row in metric_values(metrics, "bits_per_byte") if not row["variant"].startswith("tuned")]
    plain = {(row["seed"], row["split"]): row["value"] for row in rows if row["variant"] == "plain"}
    gaps = [
        {"arm": row["variant"], "split": row["split"], "value": row["value"] - plain[row["seed"], row["split"]]}
        for row in some(rows, "mixtures")
        if row["variant"] not in ("plain", "stable")
    ]
    title = "bits a byte, less those of the plain decay (below 0 is better)"
    return _panels(gaps, SPLITS, title, zero=True)


def tuning(metrics: pa.Table) -> alt.HConcatChart:
    """Bits a byte of responses, and the share of exercises that are solved, after each way of tuning."""
    tuned = [row for row in metrics.to_pylist() if row["variant"].startswith("tuned: ")]
    shown = [
        {
            "arm": row["variant"].removeprefix("tuned: "),
            "split": "solved" if row["metric"] == "pass_rate" else row["split"],
            "value": row["value"],
        }
        for row in some(tuned, "ways of tuning")
    ]
    panels = {"functions": "functions", "exercises": "exercises", "questions": "answers"}
    panels = {split: f"{name}, bits a byte" for split, name in panels.items()}
    return _panels(shown, panels | {"solved": "share that is solved"}, "", zero=False)


def _panels(rows: Rows, panels: dict[str, str], title: str, zero: bool) -> alt.HConcatChart:
    names = list(dict.fromkeys(row["arm"] for row in rows))
    bands = mean_bands(rows, ["arm", "split"])
    drawn = []
    for place, (split, name) in enumerate(panels.items()):
        axis = alt.Axis(labelLimit=240) if place == 0 else None
        base = alt.Chart(data([row for row in bands if row["split"] == split])).encode(
            y=alt.Y("arm:N", title=None, sort=names, axis=axis)
        )
        x = alt.X(
            "low:Q",
            title=title if place == 1 else None,
            axis=alt.Axis(tickCount=3, labelOverlap=True),
            scale=alt.Scale(zero=zero),
        )
        layers: list[Any] = [base.mark_rule(strokeWidth=3, color=BLUE).encode(x=x, x2="high:Q")]
        layers.append(base.mark_point(filled=True, size=110, color=BLUE, opacity=1).encode(x="mean:Q"))
        if zero:
            at = alt.Chart(data([{"at": 0}])).mark_rule(strokeDash=[8, 5], strokeWidth=2, color=BLACK)
            layers.insert(0, at.encode(x="at:Q"))
        drawn.append(alt.layer(*layers).properties(width=PANEL, height=ROW * len(names), title=name))
    return styled(alt.hconcat(*drawn))


def verification(synthetic: pa.Table) -> alt.Chart:
    """What became of solutions in the sandbox, by the fault that was planted in them."""
    counts = Counter((row["fault"], row["outcome"]) for row in some(synthetic.to_pylist(), "solutions"))
    rows = [{"fault": FAULTS[fault], "outcome": outcome, "number": n} for (fault, outcome), n in counts.items()]
    order = [name for name in FAULTS.values() if any(row["fault"] == name for row in rows)]
    chart = alt.Chart(data(sorted(rows, key=lambda row: row["outcome"]))).mark_bar()
    chart = chart.encode(
        y=alt.Y("fault:N", title="planted fault", sort=order),
        x=alt.X("number:Q", title="solutions"),
        color=key_of("outcome", "in the sandbox", sorted(rows, key=lambda row: row["outcome"])).colour(),
    )
    return styled(chart.properties(width=3 * PANEL, height=ROW * len(order)))
