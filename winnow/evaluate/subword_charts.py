"""Charts of sub-word vocabularies: code length over size, lengths of pieces, what changed against BPE, and cuts."""

from __future__ import annotations

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    VERMILION,
    WIDE,
    data,
    grouped,
    key_of,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)

NAMES = {
    "bpe": "BPE",
    "bpe_viterbi": "BPE, best cuts",
    "wordpiece": "WordPiece",
    "wordpiece_viterbi": "WordPiece, best cuts",
    "wordpiece_ratio": "WordPiece, ratio score",
    "wordpiece_ratio_viterbi": "WordPiece, ratio score, best cuts",
    "unigram": "unigram",
    "swe_search": "search alone",
    "swe": "optimum",
}
COMPARED = ("bpe", "wordpiece", "unigram", "swe")
PANELS = {"train": "words trained on", "held_out": "packages never seen", "unseen": "words never seen"}
SHOWN = 15


def code_length(metrics: pa.Table) -> alt.HConcatChart:
    """Bits per byte over the size of the vocabulary, a panel for training words and one for held-out files."""
    rows = []
    for row in some(metric_values(metrics, "bits_per_byte"), "code lengths"):
        method, size = row["variant"].rsplit("-", 1)
        rows.append(row | {"method": NAMES[method], "size": int(size)})
    key = key_of("method", "method", rows)
    sizes = sorted({row["size"] for row in rows})
    axis = alt.Axis(values=sizes, format="d")
    x = alt.X("size:Q", title="pieces (log scale)", scale=alt.Scale(type="log", padding=20, nice=False), axis=axis)
    y = alt.Y("mean:Q", title="bits per byte", scale=alt.Scale(zero=False))
    panels = []
    for split, title in (
        ("train", "words trained on"),
        ("held_out", "packages never seen"),
        ("unseen", "words never seen"),
    ):
        bands = mean_bands([row for row in rows if row["split"] == split], ["method", "size"])
        panels.append(lines(bands, x, y, key, bars=True).properties(width=WIDE / 3 - 20, height=HEIGHT, title=title))
    return styled(alt.hconcat(*panels), "bottom")


def piece_lengths(pieces: pa.Table) -> alt.HConcatChart:
    """How many pieces have how many bytes, a panel a size, a line a method."""
    found = [row for row in some(pieces.to_pylist(), "pieces") if row["method"] in COMPARED]
    rows = [
        {"method": NAMES[method], "size": size, "bytes": length, "mean": len(same), "low": len(same), "high": len(same)}
        for (method, size, length), same in grouped(found, ["method", "size", "bytes"]).items()
    ]
    rows.sort(key=lambda row: (row["size"], list(NAMES.values()).index(row["method"]), row["bytes"]))
    key = key_of("method", "method", rows)
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    x = alt.X("bytes:Q", title="bytes of a piece", axis=alt.Axis(tickMinStep=1))
    y = alt.Y("mean:Q", title="pieces")
    panels = [
        lines([row for row in rows if row["size"] == size], x, y, key).properties(
            width=WIDE / len(sizes) - 20, height=HEIGHT, title=f"{size} pieces"
        )
        for size in sizes
    ]
    return styled(alt.hconcat(*panels), "bottom")


def exchanged(pieces: pa.Table, size: int) -> alt.HConcatChart:
    """The most used pieces that only the optimum has, and those that only BPE has."""
    rows = some([row for row in pieces.to_pylist() if row["size"] == size], f"pieces of size {size}")
    have = {m: {row["piece"] for row in rows if row["method"] == m} for m in ("swe", "bpe")}
    panels = []
    for method, other, title, colour in (("swe", "bpe", "gained", BLUE), ("bpe", "swe", "lost", VERMILION)):
        only = [row for row in rows if row["method"] == method and row["piece"] not in have[other]]
        top = sorted(only, key=lambda row: (-row["count"], row["piece"]))[:SHOWN]
        shown = [{"piece": _visible(row["piece"]), "count": row["count"]} for row in top]
        bars = alt.Chart(data(shown)).mark_bar(color=colour)
        panel = bars.encode(
            x=alt.X("count:Q", title="tokens", axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y("piece:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
        )
        panels.append(
            panel.properties(width=WIDE / 2 - 120, height=28 * SHOWN, title=f"{title} ({len(only)} of {size})")
        )
    return styled(alt.hconcat(*panels, spacing=40), "bottom")


def cuts(table: pa.Table) -> alt.HConcatChart:
    """A table: identifiers as some methods cut them."""
    rows = [row for row in some(table.to_pylist(), "cuts of identifiers") if row["method"] in COMPARED]
    panels = []
    for method in [m for m in COMPARED if any(row["method"] == m for row in rows)]:
        shown = [row | {"pieces": row["pieces"].replace(" ", " · ")} for row in rows if row["method"] == method]
        text = (
            alt.Chart(data(shown))
            .mark_text(align="left", fontSize=14)
            .encode(
                x=alt.value(0),
                y=alt.Y("word:N", sort=None, axis=None),
                text="pieces:N",
            )
        )
        panels.append(text.properties(width=210, height=26 * len(shown), title=NAMES[method]))
    return styled(alt.hconcat(*panels, spacing=16), "bottom")


def _visible(piece: str) -> str:
    return piece.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
