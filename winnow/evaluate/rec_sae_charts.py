"""Charts of latents of a recommender's states: how reliable their concepts are, cards of some, and edits."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import BLACK, BLUE, GREY, HEIGHT, VERMILION, WIDE, Rows, data, key_of, some, styled
from winnow.evaluate.item_concepts import CONFIDENT, KINDS

NAMES = {"rec_sae": "latents", "neurons": "neurons", "random_directions": "random directions"}
BINS = 10
DRAWN = 34
"""Letters of a text that are drawn."""
SHOWN = 40
"""Latents whose edits are drawn."""


def confidence(tables: list[pa.Table], concepts: list[pa.Table]) -> alt.HConcatChart:
    """Shares of latents, neurons and random directions by their F1 on test users; of all seeds together. Beside it, how
    many latents of each kind of concept have an F1 of .8 or more, a mean over seeds.

    tables: `system, split, latent, f1`; concepts: `system, latent, kind`; one for each seed. Shares, because there are
    fewer neurons than latents.
    """
    found = [row for table in tables for row in table.to_pylist() if row["split"] == "test"]
    rows = []
    for system, title in NAMES.items():
        f1 = np.array([row["f1"] for row in found if row["system"] == system])
        counts = np.histogram(f1, BINS, (0.0, 1.0))[0]
        for place, count in enumerate(counts if len(f1) else []):
            rows.append({"of": title, "f1": (place + 0.5) / BINS, "share": count / len(f1)})
    key = key_of("of", "unit", some(rows, "judged concepts"))
    x = alt.X("f1:Q", title="F1 of the concept on test users", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("share:Q", title="share of the units judged", axis=alt.Axis(format="%"))
    base = alt.Chart(data(rows)).encode(x=x, y=y, color=key.colour())
    layers = [
        base.mark_line(strokeWidth=2.5),
        base.mark_point(filled=True, size=80, opacity=1).encode(shape=key.shape()),
    ]
    shares = alt.LayerChart(layer=layers).properties(width=WIDE - 320, height=HEIGHT)
    return styled(alt.hconcat(shares, _kinds(tables, concepts), spacing=30), "bottom")


def _kinds(tables: list[pa.Table], concepts: list[pa.Table]) -> alt.LayerChart:
    counts = dict.fromkeys(KINDS, 0.0)
    for judged, rules in zip(tables, concepts, strict=True):
        kinds = {row["latent"]: row["kind"] for row in rules.to_pylist() if row["system"] == "rec_sae"}
        for row in judged.to_pylist():
            if (row["system"], row["split"]) == ("rec_sae", "test") and row["f1"] >= CONFIDENT:
                counts[kinds[row["latent"]]] += 1 / len(tables)
    rows = [{"kind": kind, "count": count, "words": f"{count:.0f}"} for kind, count in counts.items()]
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("kind:N", title=None, sort=list(KINDS)),
        x=alt.X("count:Q", title=f"latents of F1 {CONFIDENT:g} or more"),
    )
    layers = [base.mark_bar(color=BLUE), base.mark_text(align="left", dx=4, fontSize=13).encode(text="words:N")]
    return alt.LayerChart(layer=layers).properties(width=200, height=HEIGHT)


def cards(table: pa.Table) -> alt.HConcatChart:
    """A row for each latent: its number, rule, F1, effect of taking it out, and the titles where it is strongest.

    table: what `winnow.evaluate.rec_sae_study.cards` tells.
    """
    told = some(table.to_pylist(), "latents with a concept")
    titles = max(len(row["titles"]) for row in told)
    rows = [_card(place, row, titles) for place, row in enumerate(told)]
    columns = [
        _words(rows, "latent", "latent", 60),
        _words(rows, "rule", "rule", 285),
        _words(rows, "f1", "F1", 45),
        _words(rows, "effect", "share, taken out", 155),
        *(_words(rows, f"title {i}", "strongest after" if i == 0 else "", 155) for i in range(titles)),
    ]
    return styled(alt.hconcat(*columns, spacing=4))


def _card(place: int, row: dict[str, Any], count: int) -> dict[str, Any]:
    before, after = row["share_before"], row["share_after"]
    titles = [_short(title, 20) for title in row["titles"]]
    return {
        "place": place,
        "latent": str(row["latent"]),
        "rule": _short(row["text"], 42),
        "f1": f"{row['f1']:.2f}",
        "effect": "not edited" if before is None else f"{before:.2f} → {after:.2f}",
        **{f"title {i}": titles[i] if i < len(titles) else "" for i in range(count)},
    }


def _words(rows: Rows, field: str, title: str, width: int) -> alt.Chart:
    y = alt.Y("place:O", axis=None)
    base = alt.Chart(data(rows), title=title).encode(y=y, x=alt.value(0), text=f"{field}:N")
    return base.mark_text(align="left", fontSize=13, color=BLACK).properties(width=width, height=24 * len(rows))


def edits(concepts: pa.Table, edited: pa.Table) -> alt.LayerChart:
    """Share of the ten offers that have a latent's concept, before and after it is taken out: a row for each latent.

    Of many, those at even places between the largest fall and the smallest. A cross is the share after an edit of equal
    length in a random direction. concepts: `system, latent, text`; edited:
    what `winnow.evaluate.rec_sae_study.edit_means` tells.
    """
    texts = {row["latent"]: row["text"] for row in concepts.to_pylist() if row["system"] == "rec_sae"}
    out = [row for row in edited.to_pylist() if row["edit"] == "x0"]
    if not out:
        return _nothing("no latent was reliable enough to be edited")
    rows = []
    ordered = sorted(out, key=lambda row: row["share_after"] - row["share_before"])
    # A picture of the largest falls alone would say that all are large.
    for place in np.unique(np.linspace(0, len(ordered) - 1, SHOWN).round().astype(int)).tolist():
        row = ordered[place]
        name = f"{_short(texts[row['latent']], DRAWN)} ({row['latent']})"
        rows.append({"latent": name, **{k: row[k] for k in ("share_before", "share_after", "random_after")}})
    order = [row["latent"] for row in rows]
    y = alt.Y("latent:N", title=None, sort=order, axis=alt.Axis(labelLimit=320, labelFontSize=12))
    title = "share of the ten offers that have the concept"
    base = alt.Chart(data(rows)).encode(y=y)
    marks = [
        {"latent": row["latent"], "share": row[f"{when}"], "when": label}
        for row in rows
        for when, label in (
            ("share_before", "before"),
            ("share_after", "latent taken out"),
            ("random_after", "random direction"),
        )
    ]
    scale = alt.Scale(domain=["before", "latent taken out", "random direction"], range=[BLUE, VERMILION, GREY])
    shapes = alt.Scale(domain=scale.domain, range=["circle", "triangle-left", "cross"])
    points = alt.Chart(data(marks)).mark_point(filled=True, size=90, opacity=0.9, strokeWidth=2)
    layers = [
        base.mark_rule(strokeWidth=1.5, color=GREY).encode(x=alt.X("share_before:Q", title=title), x2="share_after:Q"),
        points.encode(
            y=y,
            x=alt.X("share:Q", title=title),
            color=alt.Color("when:N", title=None, scale=scale),
            shape=alt.Shape("when:N", title=None, scale=shapes),
        ),
    ]
    chart = alt.LayerChart(layer=layers).properties(width=WIDE - 200, height=20 * len(order) + 40)
    return styled(chart, "bottom")


def _nothing(words: str) -> alt.LayerChart:
    text = alt.Chart(data([{"text": words}])).mark_text(fontSize=16).encode(text="text:N")
    return styled(alt.LayerChart(layer=[text]).properties(width=WIDE / 2, height=80))


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"
