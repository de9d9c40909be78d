"""Transcoders beside autoencoders of the same layers: what the loss keeps, and how well latents tell simple things.

J. Dunefsky, P. Chlenski, N. Nanda, "Transcoders Find Interpretable LLM Feature Circuits", NeurIPS 2024, whose readers
judged features blindly. In the place of readers stands a fixed list of predicates of a token and its context.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus
from winnow.evaluate.language_dictionaries import FEWEST, token_classes
from winnow.workloads.names_language import SPAN, YEARS, token_of, tokens_of
from winnow.workloads.sequences import Sequences

SYSTEMS = {True: "transcoder", False: "transcoder_sae"}
"""Whether what goes in is read -> name of the system in tables."""
FIRES = 10
"""Rows in which a latent fires at least, or nothing is said of it."""
TOLD = 0.8
"""F1 from which on a latent counts as telling something."""
Predicates = Mapping[str, Tensor]


def predicates(workload: Any, corpus: Corpus) -> Predicates:
    """Name -> bool[n] of the rows that a corpus keeps: a token, its class, its position, and what is known of before.

    Of the language of names also the kind of document, and how late a span of years begins once that is told. What
    holds in too few rows is left out. The list is fixed: it knows nothing of any dictionary.
    """
    before = torch.cat([torch.full_like(corpus.tokens[:, :1], -1), corpus.tokens[:, :-1]], 1)
    places = torch.arange(corpus.tokens.shape[1]).expand_as(corpus.tokens)
    found: dict[str, Tensor] = {}
    for name, values in (("token", corpus.tokens), ("before", before), ("position", places)):
        rows = values[corpus.kept]
        found |= {f"{name} {value}": rows == value for value in rows.unique().tolist()}
    for name, values in (("class", corpus.tokens), ("class before", before.clamp(min=0))):
        classes = token_classes(workload, values[corpus.kept])
        found |= {f"{name} {of}": member for of, member in classes.items()}
    if isinstance(workload, Sequences):
        found |= {name: member[corpus.kept] for name, member in _of_documents(corpus.tokens).items()}
    return {name: member for name, member in found.items() if int(member.sum()) >= FEWEST}


def _of_documents(tokens: Tensor) -> dict[str, Tensor]:
    """bool[n, t]: the kind of document, and that its first year is told and not before each decade."""
    spans, asked = (tokens == token_of()["lasted"]).any(1), (tokens == token_of()["please"]).any(1)
    kinds = {"kind years": spans, "kind requests": asked, "kind names": ~spans & ~asked}
    found = {name: member[:, None].expand_as(tokens) for name, member in kinds.items()}
    place = SPAN.split().index("{start}") + 1
    start = tokens[:, place] - int(tokens_of(YEARS[:1])[0])
    told = spans[:, None] & (torch.arange(tokens.shape[1]) >= place)
    return found | {f"begins from {year}": told & (start >= year)[:, None] for year in range(10, 100, 10)}


def best_f1(active: Tensor, known: Predicates) -> Tensor:
    """float64[m]: F1 of "the latent fires" against the predicate that it tells best; NaN where it hardly fires.

    active: bool[n, m].
    """
    member = torch.stack(list(known.values()), 1)
    fires, holds = active.sum(0).double(), member.sum(0).double()
    # Few latents fire in a row and few predicates hold in it.
    rows, columns = (sp.csr_array(table.numpy()).astype(np.int64) for table in (active, member))
    both = torch.from_numpy((rows.T @ columns).toarray()).double()
    best = (2 * both / (fires[:, None] + holds)).max(1).values
    return torch.where(fires >= FIRES, best, float("nan"))


def told(dictionary: Dictionary, rows: Tensor, known: Predicates) -> dict[str, float | None]:
    """Mean best F1 of the latents that fire on rows float[n, d_in], the share that tells a thing, and their number."""
    best = best_f1(dictionary.dense(rows) > 0, known)
    live = best[~best.isnan()]
    means = {"best_f1": live.mean(), "telling": (live >= TOLD).double().mean()}
    return {name: float(value) if len(live) else None for name, value in means.items()} | {"live": float(len(live))}


def summary(rows: Iterable[Mapping[str, Any]], least_cost: float) -> dict[tuple[str, str], dict[str, float | None]]:
    """(system, `k<k>` or `p<penalty>`) -> means over layers of what rows of metrics say of `layer<l>-k<k>` and so on.

    ce_recovered_costly: share of the loss recovered, against the mean, of layers whose ablation costs at least
    `least_cost` nats; None where there is none.
    """
    of: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        layer, _, k = row["variant"].partition("-")
        of.setdefault((row["system"], k), {}).setdefault(layer, {})[row["metric"]] = row["value"]
    found: dict[tuple[str, str], dict[str, float | None]] = {}
    for key, layers in of.items():
        costly = [layer for layer in layers.values() if layer["ablation_cost"] >= least_cost]
        found[key] = {"ce_recovered_costly": _mean(costly, "ce_recovered_mean"), "costly_layers": float(len(costly))}
        found[key] |= {name: _mean(list(layers.values()), name) for name in ("best_f1", "telling", "fvu", "l0")}
    return found


def _mean(layers: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [layer[name] for layer in layers if layer.get(name) is not None]
    return sum(values) / len(values) if values else None
