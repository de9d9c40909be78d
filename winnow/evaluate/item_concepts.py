"""Concepts of a user's last items, which of them a latent answers to, and how far that can be relied on.

After Wang, Zhang, Ma and Zhang, "Interpret the Internal States of Recommendation Model with Sparse Autoencoder", 2024
(RecSAE), with a rule over what is known of the items in the place of a language model that names what sequences share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from winnow.errors import InputError
from winnow.randomness import numpy_generator

RECENT = np.array([0.4, 0.6, 0.8, 1.0, 1.2])
"""Weights of the last five items, the last one last."""
FRESH = (0.5, 0.7, 1.0)
"""What an item counts for that was taken third from last, last but one, last."""
CONFIDENT = 0.8
"""F1 from which on a concept can be relied on."""
KINDS = ("genre", "era", "popularity", "property", "item")
BUCKETS = 5
SHOWN = 3
ENTITY = r"[mg]\.[0-9a-z_]+"
"""An entity of Freebase, of which the data have no name."""
EXAMPLES = 2
"""Items that stand for the name of an entity."""
CONCEPTS = pa.schema(
    {
        "latent": pa.int32(),
        "feature": pa.int32(),
        "kind": pa.string(),
        "text": pa.string(),
        "also": pa.string(),
        "lift": pa.float64(),
        "threshold": pa.float64(),
        "n_active": pa.int32(),
    }
)
"""text: the feature of the rule; also: what the strongest rows share nearly as much, which no figure is about.
lift: mean of the feature where the latent is strongest, of its mean everywhere; a rule fires above the threshold."""
CONFIDENCE = pa.schema(
    {
        "latent": pa.int32(),
        "precision": pa.float64(),
        "recall": pa.float64(),
        "f1": pa.float64(),
        "average_precision": pa.float64(),
        "judged": pa.int32(),
    }
)
"""judged: active rows that the rule was judged on, as many as inactive ones."""


@dataclass(frozen=True)
class Attributes:
    """What items are: table bool as csr[items + 1, a], and of each column its kind and what it says."""

    table: sp.csr_array
    kinds: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Features:
    """What sequences are: values csr[n, c], and of each column kind, text and the attribute (or item) it looks at."""

    values: sp.csr_array
    kinds: tuple[str, ...]
    texts: tuple[str, ...]
    about: tuple[int, ...]
    """Column of the attributes, or, of kind item, the item."""


def attributes(items: pa.Table, kinds: list[str], least: int = 8) -> Attributes:
    """Attributes of curated items: genre, era (decade), popularity (a fifth of all events each) and property.

    items: `item, title, year, genres, properties, events`. kinds: those of them that are wanted. least: items that a
    property must have. A property whose value is an entity without a name is called by its most taken items.
    """
    rows = items.to_pylist()
    events = np.array([row["events"] for row in rows])
    order = np.argsort(-events, kind="stable")
    passed = np.empty(len(rows))
    passed[order] = np.cumsum(events[order]) - events[order] / 2
    bucket = np.minimum(passed * BUCKETS // max(events.sum(), 1), BUCKETS - 1).astype(int)
    told: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        said = {
            "genre": row["genres"],
            "era": [] if row["year"] is None else [f"{row['year'] // 10 * 10}s"],
            "popularity": [f"popularity {bucket[i] + 1} of {BUCKETS}"],
            "property": row["properties"],
        }
        for kind in kinds:
            for name in dict.fromkeys(said.get(kind, [])):
                told.setdefault((kind, name), []).append(row["item"])
    kept = sorted((kind, name) for (kind, name), who in told.items() if kind != "property" or len(who) >= least)
    columns = [told[key] for key in kept]
    at = np.repeat(np.arange(len(kept)), [len(who) for who in columns])
    which = np.concatenate([*columns, np.empty(0, int)]).astype(int)
    table = sp.csr_array((np.ones(len(which)), (which, at)), shape=(len(rows) + 1, len(kept)))
    titles = {row["item"]: row["title"] for row in rows}
    most_taken = [row["item"] for row in sorted(rows, key=lambda row: -row["events"])]
    names = tuple(_readable(name, set(told[kind, name]), most_taken, titles) for kind, name in kept)
    return Attributes(table, tuple(kind for kind, _ in kept), names)


def _readable(name: str, items: set[int], most_taken: list[int], titles: dict[int, str]) -> str:
    """What a property says; of a nameless entity of a graph by the items that it is best known from."""
    relation, _, value = name.partition(": ")
    if not re.fullmatch(ENTITY, value):
        return name
    known = [titles[item] for item in most_taken if item in items][:EXAMPLES]
    return f"{relation} of {', '.join(known)}"


def concept_features(recent: np.ndarray, known: Attributes, items: list[int], titles: list[str]) -> Features:
    """Features of sequences, of which the last five items int64[n, 5] are given, padded with 0 in front.

    Of each attribute: whether the last item has it, and its share among the last five, later ones counting for more. Of
    each of `items`: 1, .7 or .5 where it is the last, last but one or third from last. titles: of all items, by number.
    """
    weights = RECENT * (recent > 0)
    total = np.maximum(weights.sum(1), 1e-12)
    shares = sum(
        sp.diags_array(weights[:, place] / total) @ known.table[recent[:, place]] for place in range(len(RECENT))
    )
    place_of = np.full(known.table.shape[0], -1)
    place_of[items] = np.arange(len(items))
    fresh = sp.csr_array((len(recent), len(items)))
    for back, weight in enumerate(reversed(FRESH), 1):
        column = place_of[recent[:, -back]]
        there = np.flatnonzero((column >= 0) & (recent[:, -back] > 0))
        found = sp.csr_array((np.full(len(there), weight), (there, column[there])), shape=fresh.shape)
        fresh = fresh.maximum(found)
    values = sp.csr_array(sp.hstack([known.table[recent[:, -1]], shares, fresh]))
    texts = [f"last item: {name}" for name in known.names] + [f"recent items mostly {name}" for name in known.names]
    own = tuple(f"recently {titles[item]}" for item in items)
    about = (*range(len(known.names)), *range(len(known.names)), *items)
    return Features(values, (*known.kinds, *known.kinds, *["item"] * len(items)), (*texts, *own), about)


def one_of_each(rows: np.ndarray, owner: np.ndarray | None) -> np.ndarray:
    """The first of rows int64[r] that each owner has, of int64[n] from 0, in their order; all where owner is None."""
    if owner is None:
        return rows
    first = np.full(int(owner.max(initial=-1)) + 1, -1)
    # Of assignments to one place the last stays: written backwards, the first row.
    first[owner[rows][::-1]] = np.arange(len(rows))[::-1]
    return rows[np.sort(first[first >= 0])]


def interpret(
    acts: sp.csr_array, features: Features, owner: np.ndarray | None = None, *, top: int = 50, least: int = 10
) -> pa.Table:
    """What the `top` rows where a latent is strongest share against all rows: a row (CONCEPTS) a latent that has one.

    acts: csr[n, m], above 0 where a latent is active. owner: int64[n], the user of each row, of whom the strongest one
    counts, as neighbouring places share most of their history; None: each is another's. A feature's score is (its mean
    there - its mean) / its standard deviation x the root of its mean there; the best one makes the rule, which fires
    above the middle of the two means. Latents with fewer than `least` active rows have no concept.
    """
    count = acts.shape[0]
    columns = sp.csc_array(acts)
    strongest, active = [], np.diff(columns.indptr)
    for latent in range(acts.shape[1]):
        part = slice(columns.indptr[latent], columns.indptr[latent + 1])
        order = np.lexsort((columns.indices[part], -columns.data[part]))
        strongest.append(one_of_each(columns.indices[part][order], owner)[:top])
    sizes = np.array([len(rows) for rows in strongest])
    owner = np.repeat(np.arange(len(strongest)), sizes)
    chosen = sp.csr_array(
        (1 / np.maximum(sizes[owner], 1), (owner, np.concatenate(strongest))), shape=(acts.shape[1], count)
    )
    near = (chosen @ features.values).toarray()
    mean = np.asarray(features.values.mean(axis=0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(features.values.power(2).mean(axis=0)).ravel() - mean**2, 0))
    score = np.where(spread > 0, (near - mean) / np.where(spread > 0, spread, 1) * np.sqrt(near), 0)
    rows = []
    for latent in np.flatnonzero(active >= least).tolist():
        ranked = np.argsort(-score[latent], kind="stable")[:SHOWN]
        best = int(ranked[0])
        if score[latent, best] <= 0:
            continue
        also = [features.texts[i] for i in ranked[1:] if score[latent, i] > score[latent, best] / 2]
        rows.append(
            {
                "latent": latent,
                "feature": best,
                "kind": features.kinds[best],
                "text": features.texts[best],
                "also": "; ".join(also),
                "lift": float(near[latent, best] / mean[best]),
                "threshold": float((near[latent, best] + mean[best]) / 2),
                "n_active": int(active[latent]),
            }
        )
    return pa.Table.from_pylist(rows, CONCEPTS)


def confidence(
    concepts: pa.Table,
    acts: sp.csr_array,
    features: Features,
    seed: int,
    owner: np.ndarray | None = None,
    *,
    each: int = 25,
    least: int = 5,
) -> pa.Table:
    """How well each rule tells on new rows whether its latent is active (CONFIDENCE).

    Precision, recall and F1 on the `each` most active rows and as many inactive ones drawn by chance (on all active
    ones where there are fewer), of either one a user; average precision of the feature's values on all rows.
    owner: see `interpret`. Latents whose active rows are of fewer than `least` users are not judged. Raises InputError
    for acts and features of different rows.
    """
    if acts.shape[0] != features.values.shape[0]:
        raise InputError(f"acts: of {acts.shape[0]} rows, features of {features.values.shape[0]}; give the same")
    columns, told = sp.csc_array(acts), sp.csc_array(features.values)
    rows, feature, values, ranking = {}, -1, np.empty(0), Ranking(np.empty(0, int), np.empty(0, int))
    # Latents of one feature together, whose values are ranked once.
    for place, concept in sorted(enumerate(concepts.to_pylist()), key=lambda pair: pair[1]["feature"]):
        latent = concept["latent"]
        part = slice(columns.indptr[latent], columns.indptr[latent + 1])
        active, strength = columns.indices[part], columns.data[part]
        chosen = one_of_each(active[np.lexsort((active, -strength))], owner)[:each]
        if len(chosen) < least:
            continue
        silent = np.ones(acts.shape[0], bool)
        silent[active] = False
        drawn = numpy_generator(seed, "inactive rows", str(latent)).permutation(np.flatnonzero(silent))
        drawn = one_of_each(drawn, owner)[: len(chosen)]
        if feature != concept["feature"]:
            feature = concept["feature"]
            values = told[:, [feature]].toarray().ravel()
            ranking = ranking_of(values)
        rows[place] = {"latent": latent, **_agreement(values[chosen], values[drawn], concept["threshold"])} | {
            "average_precision": average_precision(ranking, active),
            "judged": len(chosen),
        }
    return pa.Table.from_pylist([rows[place] for place in sorted(rows)], CONFIDENCE)


def _agreement(active: np.ndarray, silent: np.ndarray, threshold: float) -> dict[str, float]:
    hits, false = int((active > threshold).sum()), int((silent > threshold).sum())
    precision = hits / (hits + false) if hits + false else 0.0
    recall = hits / len(active)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


class Ranking(NamedTuple):
    """Rows in the order of falling values, and where among them each run of equal values ends."""

    order: np.ndarray
    ends: np.ndarray


def ranking_of(values: np.ndarray) -> Ranking:
    """The ranking of values float[n]."""
    order = np.argsort(-values, kind="stable")
    return Ranking(order, np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1))


def average_precision(ranking: Ranking, active: np.ndarray) -> float:
    """Mean precision at the thresholds of a ranking that find more of the active rows int64[a], ties at once."""
    right = np.zeros(len(ranking.order))
    right[active] = 1
    found = np.cumsum(right[ranking.order])[ranking.ends]
    precision, recall = found / (ranking.ends + 1), found / max(len(active), 1)
    return float((np.diff(recall, prepend=0) * precision).sum())


def sparse_acts(values: Any, indices: Any, width: int) -> sp.csr_array:
    """csr[n, width] of codes with values float[n, k] at indices int[n, k]; values of 0 are no entries."""
    values, indices = np.asarray(values), np.asarray(indices)
    at = np.nonzero(values > 0)
    return sp.csr_array((values[at], (at[0], indices[at])), shape=(len(values), width))


def thresholded(projections: np.ndarray, cuts: np.ndarray) -> sp.csr_array:
    """csr[n, units]: by how much projections float[n, units] exceed the cut of their unit."""
    return sp.csr_array(np.maximum(projections - cuts, 0.0))
