"""Charts of the reasons of prototypes: train against test, and a heat map of prototypes and edits."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import BLACK, BLUE, GREY, Rows, data, finite, grouped, key_of, some, styled


def agreement(table: pa.Table) -> alt.HConcatChart:
    """Importance of each edit for each prototype on train and on test, a panel for each network; all seeds."""
    rows = [row for row in table.to_pylist() if finite(row["train"]) and finite(row["test"])]
    key = key_of("edit", "edit", some(rows, "importances"))
    values = [row[split] for row in rows for split in ("train", "test")]
    panels: list[Any] = []
    for (name,), found in grouped(rows, ["variant"]).items():
        x, y = alt.X("train:Q", title="on train"), alt.Y("test:Q", title=None if panels else "on test")
        points = alt.Chart(data(found)).mark_point(size=50, opacity=0.7)
        points = points.encode(x=x, y=y, color=key.colour(), shape=key.shape())
        line = alt.Chart(data([{"train": end, "test": end} for end in (min(values), max(values))]))
        line = line.mark_line(color=BLACK, strokeDash=[8, 5]).encode(x=x, y=y)
        panels.append((line + points).properties(width=300, height=300, title=name))
    return styled(alt.hconcat(*panels), legend="bottom")


def importances(table: pa.Table) -> alt.HConcatChart:
    """Standardised importance of each edit for each prototype of the first seed, a row each, like ones side by side."""
    rows = some([row for row in table.to_pylist() if finite(row["train"])], "importances")
    first = min(row["seed"] for row in rows)
    panels: list[Any] = []
    for (name,), found in grouped([row for row in rows if row["seed"] == first], ["variant"]).items():
        by_edit = grouped(found, ["edit"])
        scale = {edit: float(np.mean([abs(row["train"]) for row in of])) or 1.0 for (edit,), of in by_edit.items()}
        cells: Rows = [
            {"prototype": f"{row['class']} {row['prototype']}", "edit": row["edit"]}
            | {"value": row["train"] / scale[row["edit"]]}
            for row in found
        ]
        order = _clustered(cells, [edit for (edit,) in by_edit])
        colour = alt.Color("value:Q", title="importance", scale=alt.Scale(scheme="blueorange", domainMid=0))
        x, y = alt.X("edit:N", title=None), alt.Y("prototype:N", title=None, sort=order)
        chart = alt.Chart(data(cells)).mark_rect().encode(x=x, y=y, color=colour)
        panels.append(chart.properties(width=240, height=18 * len(order), title=name))
    return styled(alt.hconcat(*panels))


def _clustered(cells: Rows, edits: list[str]) -> list[str]:
    """Prototypes in the order of the leaves of average linkage on their importances; what is unknown counts as 0."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    known = {(cell["prototype"], cell["edit"]): cell["value"] for cell in cells}
    names = list(dict.fromkeys(cell["prototype"] for cell in cells))
    if len(names) < 2:
        return names
    values = np.array([[known.get((name, edit), 0.0) for edit in edits] for name in names])
    return [names[i] for i in leaves_list(linkage(values, "average", optimal_ordering=True))]


def planted(table: pa.Table) -> alt.HConcatChart:
    """Standardised importance of each edit for each prototype of planted sets, a panel a set; filled: on the part.

    table: columns set, edit, value, on_part; several seeds lie over one another.
    """
    rows = some([row for row in table.to_pylist() if finite(row["value"])], "importances")
    edits = list(dict.fromkeys(row["edit"] for row in rows))
    values = [row["value"] for row in rows]
    panels: list[Any] = []
    for (name,), found in grouped(rows, ["set"]).items():
        x = alt.X("value:Q", title="importance", scale=alt.Scale(domain=[min(values), max(values)]))
        y = alt.Y("edit:N", title=None, sort=edits, axis=alt.Axis(labels=not panels, grid=True))
        layers = []
        for on_part, colour in ((False, GREY), (True, BLUE)):
            base = alt.Chart(data([row for row in found if row["on_part"] == on_part]))
            layers.append(base.mark_point(size=60, color=colour, filled=on_part, opacity=0.8).encode(x=x, y=y))
        panels.append(alt.layer(*layers).properties(width=150, height=220, title=name))
    return styled(alt.hconcat(*panels, spacing=14))
