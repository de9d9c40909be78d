"""Recall of documentation of some packages from that of all: a pool of natural text of which the truth is known."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.curate.byte_pairs import encode
from winnow.curate.code_recall import recall_rounds
from winnow.errors import InputError
from winnow.evaluate.chart_parts import HEIGHT, WIDTH, Key, lines, mean_bands, some, styled
from winnow.randomness import numpy_generator
from winnow.workloads.text_tables import language_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHORTEST = 80

Rows = list[dict[str, Any]]


def pages_of(documents: Rows) -> Rows:
    """The documentation of modules, classes and functions of 80 letters and more: package, path, text."""
    pages = []
    for document in documents:
        if language_of(document["path"]) != "python":
            continue
        for node in ast.walk(ast.parse(document["text"])):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= SHORTEST:
                    pages.append({"package": document["package"], "path": document["path"], "text": text})
    return pages


def study(
    pages: Rows,
    wanted: Sequence[str],
    tokenizer: Tokenizer,
    *,
    share: float,
    rounds: int,
    domain_share: float,
    seed: int,
) -> list[dict[str, float]]:
    """For each round recall and precision on pages outside the first seed, and the size of the seed.

    wanted: packages that are the subject. share: of one wanted package's pages, drawn by the seed, that start it.
    """
    truth = np.array([page["package"] in wanted for page in pages])
    if not truth.any() or truth.all():
        raise InputError(f"wanted: {', '.join(wanted)} have {truth.sum()} of {len(pages)} pages; name other packages")
    generator = numpy_generator(seed, "recall seed")
    names = sorted({page["package"] for page in pages if page["package"] in wanted})
    first = str(generator.choice(names))
    own = np.flatnonzero([page["package"] == first for page in pages])
    start = generator.permutation(own)[: max(2, round(share * len(own)))]
    tokens = [np.array(ids[:-1], np.int64) for ids in encode(tokenizer, [page["text"] for page in pages]).to_pylist()]
    subject = {page["path"]: bool(inside) for page, inside in zip(pages, truth, strict=True)}
    found = recall_rounds(
        tokens,
        [page["package"] for page in pages],
        [page["path"] for page in pages],
        start.tolist(),
        subject.__getitem__,
        rounds=rounds,
        domain_share=domain_share,
        seed=seed,
    )
    judged = np.ones(len(pages), bool)
    judged[start] = False
    told = []
    for row in found:
        hit = row["recalled"] & judged
        scores = {"recall": float((hit & truth).sum() / (judged & truth).sum())}
        scores["precision"] = float((hit & truth).sum() / max(hit.sum(), 1))
        told.append({"round": row["round"], "seed": row["seed"], "domains": len(row["domains"]), **scores})
    return told


def recall_chart(metrics: pa.Table) -> alt.LayerChart:
    """Recall and precision over the rounds, with intervals."""
    shown = [row for row in metrics.to_pylist() if row["metric"] in ("recall", "precision") and row["step"] is not None]
    bands = mean_bands(some(shown, "rounds"), ["metric", "step"], (0.0, 1.0))
    x = alt.X("step:Q", title="round", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False, padding=20))
    y = alt.Y("mean:Q", title="share of pages", scale=alt.Scale(domain=[0, 1]))
    key = Key("metric", "measure", ["recall", "precision"])
    return styled(lines(bands, x, y, key, bars=True).properties(width=WIDTH, height=HEIGHT))
