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
APART, MIXED = 1 / 3, 0.3
"""Shares of the files that no round labels, and of those that lie in the domain of another package."""

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
    """For each round recall and precision of its classifier on pages that no round labels, and the size of the seed.

    A third of the files, of the subject and beside it, is apart from all rounds. Of the others three in ten lie in the
    domain of another package, so that domains are mixed; a prefix is what a domain has of a package. wanted: packages
    that are the subject. share: of one wanted package's pages, drawn by the seed, that start it. Raises InputError
    where all pages are about the subject or none is, or too few.
    """
    truth = np.array([page["package"] in wanted for page in pages])
    if not truth.any() or truth.all():
        raise InputError(f"wanted: {', '.join(wanted)} have {truth.sum()} of {len(pages)} pages; name other packages")
    generator = numpy_generator(seed, "recall seed")
    apart, domains = _laid_out(pages, truth, generator)
    pool, judged = np.flatnonzero(~apart), np.flatnonzero(apart)
    names = sorted({pages[i]["package"] for i in pool[truth[pool]]})
    if not names or not truth[judged].any():
        raise InputError(f"wanted: {', '.join(wanted)} have one file with pages; name packages with more")
    first = str(generator.choice(names))
    own = [at for at, i in enumerate(pool) if pages[i]["package"] == first]
    start = generator.permutation(own)[: max(2, round(share * len(own)))]
    tokens = [np.array(ids[:-1], np.int64) for ids in encode(tokenizer, [page["text"] for page in pages]).to_pylist()]
    packages = [pages[i]["package"] for i in pool]
    found = recall_rounds(
        [tokens[i] for i in pool],
        [domains[i] for i in pool],
        [f"{domains[i]}/{package}" for i, package in zip(pool, packages, strict=True)],
        start.tolist(),
        lambda prefix: prefix.rsplit("/", 1)[1] in wanted,
        rounds=rounds,
        domain_share=domain_share,
        seed=seed,
    )
    told = []
    for row in found:
        taken = row["classifier"].score([tokens[i] for i in judged]) > 0.5
        right = int((taken & truth[judged]).sum())
        scores = {"recall": right / int(truth[judged].sum()), "precision": right / max(int(taken.sum()), 1)}
        told.append({"round": row["round"], "seed": row["seed"], "domains": len(row["domains"]), **scores})
    return told


def _laid_out(pages: Rows, truth: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Which pages are apart from all rounds, bool[pages], and the domain of each page; whole files, by chance."""
    keys = [(page["package"], page["path"]) for page in pages]
    files = sorted({(bool(inside), key) for inside, key in zip(truth, keys, strict=True)})
    packages = sorted({package for package, _ in keys})
    aside: set[tuple[str, str]] = set()
    for subject in (True, False):
        own = [key for inside, key in files if inside == subject]
        drawn = generator.permutation(len(own))[: max(1, round(APART * len(own)))]
        aside |= {own[at] for at in drawn}
    domain = {}
    for _, (package, path) in files:
        others = [other for other in packages if other != package]
        mixed = generator.random() < MIXED
        domain[package, path] = str(generator.choice(others)) if mixed else package
    return np.array([key in aside for key in keys]), [domain[key] for key in keys]


def recall_chart(metrics: pa.Table) -> alt.LayerChart:
    """Recall and precision over the rounds, with intervals."""
    shown = [row for row in metrics.to_pylist() if row["metric"] in ("recall", "precision") and row["step"] is not None]
    bands = mean_bands(some(shown, "rounds"), ["metric", "step"], (0.0, 1.0))
    x = alt.X("step:Q", title="round", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False, padding=20))
    y = alt.Y("mean:Q", title="share of pages", scale=alt.Scale(domain=[0, 1]))
    key = Key("metric", "measure", ["recall", "precision"])
    return styled(lines(bands, x, y, key, bars=True).properties(width=WIDTH, height=HEIGHT))
