"""Cards of prototypes: the patch, the patch edited in each characteristic, what each edit costs, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import Rows, data, finite, grouped, key_of, picture, some, styled
from winnow.evaluate.prototype_explanations import ORIGINAL
from winnow.workloads.image_tables import decode_png

CELL = 76  # pixels of a patch on a card
BARS, WORDS = 180, 400  # widths
BARE: dict[str, Any] = {"grid": False, "ticks": False, "domain": False}


def cards(table: pa.Table, importances: pa.Table) -> alt.VConcatChart:
    """A card for the prototype of each class whose patch is nearest to it: the first seed, one network below another.

    table: columns variant, seed, prototype, edit, distance, png. importances: variant, seed, prototype, class, edit,
    standardised, sentence.
    """
    rows = some(table.to_pylist(), "patches")
    first = min(row["seed"] for row in rows)
    told = grouped([row for row in importances.to_pylist() if row["seed"] == first], ["variant", "prototype"])
    panels: list[Any] = []
    for (name,), found in grouped([row for row in rows if row["seed"] == first], ["variant"]).items():
        nearest: dict[str, int] = {}
        for row in sorted(found, key=lambda row: row["distance"]):
            nearest.setdefault(told[name, row["prototype"]][0]["class"], row["prototype"])
        places = {nearest[kind]: i for i, kind in enumerate(sorted(nearest))}
        reasons = [told[name, prototype] for prototype in places]
        scale = alt.Scale(domain=[len(places), 0], nice=False)
        parts = [
            (_patches(found, places, scale, sorted(nearest), name), CELL * (1 + len(reasons[0]))),
            (_bars(reasons, scale), BARS),
            (_sentences(reasons, scale), WORDS),
        ]
        sized = [part.properties(width=width, height=CELL * len(places)) for part, width in parts]
        panels.append(alt.hconcat(*sized, spacing=8))
    return styled(alt.vconcat(*panels), legend="bottom")


def _named(names: Sequence[str], **options: Any) -> alt.Axis:
    """An axis that names cells 0 to 1, 1 to 2 and so on."""
    middles = [i + 0.5 for i in range(len(names))]
    return alt.Axis(values=middles, labelExpr=f"{list(names)}[floor(datum.value)]", **BARE, **options)


def _patches(found: Rows, places: Mapping[int, int], scale: alt.Scale, classes: Sequence[str], name: str) -> alt.Chart:
    edits = list(dict.fromkeys(row["edit"] for row in found))
    order = [ORIGINAL, *(edit for edit in edits if edit != ORIGINAL)]
    cells = [
        {"x": order.index(row["edit"]) + 0.5, "y": places[row["prototype"]] + 0.5}
        | {"uri": picture(decode_png(row["png"]))}
        for row in found
        if row["prototype"] in places
    ]
    x = alt.X(
        "x:Q",
        title=None,
        axis=_named(order, orient="top", labelFontSize=14),
        scale=alt.Scale(domain=[0, len(order)], nice=False),
    )
    y = alt.Y("y:Q", title=f"{name}: a prototype of", axis=_named(classes), scale=scale)
    return alt.Chart(data(cells)).mark_image(width=0.94 * CELL, height=0.94 * CELL).encode(x=x, y=y, url="uri:N")


def _bars(reasons: Sequence[Rows], scale: alt.Scale) -> alt.Chart:
    rows = [
        {"edit": row["edit"], "value": row["standardised"]}
        | {"top": i + 0.1 + 0.8 * m / len(told), "bottom": i + 0.1 + 0.8 * (m + 0.85) / len(told)}
        for i, told in enumerate(reasons)
        for m, row in enumerate(told)
        if finite(row["standardised"])
    ]
    x = alt.X("value:Q", title="standardised importance", axis=alt.Axis(tickCount=3))
    y = alt.Y("top:Q", axis=None, scale=scale)
    colour = key_of("edit", "edit", some(rows, "importances")).colour()
    return alt.Chart(data(rows)).mark_rect().encode(x=x, x2=alt.datum(0), y=y, y2="bottom:Q", color=colour)


def _sentences(reasons: Sequence[Rows], scale: alt.Scale) -> alt.Chart:
    rows = [{"y": i + 0.5, "text": told[0]["sentence"].replace("; ", ";\n")} for i, told in enumerate(reasons)]
    text = alt.Chart(data(rows)).mark_text(align="left", lineBreak="\n", fontSize=15, dx=4)
    return text.encode(x=alt.value(0), y=alt.Y("y:Q", axis=None, scale=scale), text="text:N")
