"""RecSAE judged: ranking by reconstructions, concepts of latents beside neurons and random directions, and edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.rec_sae import group_events, members, ranking_with
from winnow.errors import InputError
from winnow.evaluate import item_concepts
from winnow.evaluate.item_concepts import CONFIDENT, Attributes, Features
from winnow.evaluate.rec_sae import Places, Units, ablate, activations, has_concept, latent_of, places_of, tune, units
from winnow.randomness import numpy_generator
from winnow.train.plain_recommenders import likeness
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.interactions import Interactions, Sequences
from winnow.workloads.ranking import gains, ranking_metrics

RESAMPLES = 10_000
EDITS = {"x0": 0.0, "x2": 2.0, "x4": 4.0, "raised": None}
"""Factors of the activation; raised is for users in whom the latent is silent."""
TAKEN_OUT = "x0"
PER_CARD = 5
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scene:
    """What concepts are read from and judged on: places of three groups of users and their features."""

    workload: Interactions
    model: Any
    dictionary: Dictionary
    known: Attributes
    places: dict[str, Places]
    features: dict[str, Features]
    taken: Sequences
    """Training events of the train users: all that popularity, frequency and likeness of items are told from."""
    judges: np.ndarray
    """The test users, of whom all final figures are."""


def scene_of(
    workload: Interactions,
    model: Any,
    dictionary: Dictionary,
    items: pa.Table,
    users: pa.Table,
    settings: Any,
    seed: int,
) -> Scene:
    """Places and features of the three groups that `users` names; how often items are taken is told by train users.

    settings: kinds, frequent_items, least_items, rows and held_out_rows. Raises InputError for a dictionary of another
    width of states and for k >= width (when it is loaded).
    """
    if dictionary.W_enc.shape[0] != model.embedding.embedding_dim:
        raise InputError(
            f"dictionary: reads {dictionary.W_enc.shape[0]} dimensions and the states have "
            f"{model.embedding.embedding_dim}; fit it on this model"
        )
    taken = group_events(workload, members(users, "train"))
    # The curated counts are of all users, also of those that rules are judged on.
    counts = np.bincount(taken.items, minlength=workload.items + 1)[1:]
    items = items.set_column(items.schema.get_field_index("events"), "events", pa.array(counts))
    known = item_concepts.attributes(items, settings.kinds, settings.least_items)
    frequent = [int(i) + 1 for i in np.argsort(-counts, kind="stable")[: settings.frequent_items]]
    frequent = sorted(frequent) if "item" in settings.kinds else []
    places, features = {}, {}
    for group in SPLITS:
        most = settings.rows if group == "train" else settings.held_out_rows
        places[group] = places_of(workload, model, members(users, group), most, seed)
        recent = places[group].recent
        features[group] = item_concepts.concept_features(recent, known, frequent, workload.meta.vocabulary)
    return Scene(workload, model, dictionary, known, places, features, taken, np.array(members(users, "test")))


def rankings(scene: Scene) -> dict[str, dict[str, Any]]:
    """states and reconstructions -> metrics on the last event of test users, ranked by either; each user's gain."""
    asked = scene.workload.asked("test")
    own = np.isin(asked.users, scene.judges)
    ranking, found = ranking_with(scene.workload, scene.model, "test"), {}
    for name, edit in (("states", lambda h: h), ("reconstructions", scene.dictionary.reconstruct)):
        placed = ranking(edit)[own]
        by_user = list(zip(gains(placed).tolist(), asked.users[own].tolist(), strict=True))
        found[name] = {"metrics": ranking_metrics(placed), "users": [("user_ndcg10", g, u) for g, u in by_user]}
    return found


def ranking_change(found: dict[str, dict[str, Any]], seed: int) -> dict[str, float]:
    """What NDCG@10 gains by reconstructions in place of states, and how far that is from 0.

    ndcg10_gained_low, ndcg10_lost_low: lower ends of the 95 % bootstrap interval over users of the gain and of its
    negative; the interval holds 0 where neither is above 0.
    """
    after, before = (np.array([gain for _, gain, _ in found[name]["users"]]) for name in ("reconstructions", "states"))
    difference = after - before
    generator = numpy_generator(seed, "bootstrap of users")
    drawn = [difference[generator.integers(0, len(after), len(after))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    change = float(difference.mean())
    return {
        "ndcg10_change": change,
        "ndcg10_change_size": abs(change),
        "ndcg10_gained_low": float(low),
        "ndcg10_lost_low": float(-high),
    }


def concepts_of(scene: Scene, seed: int, top: int = 50) -> dict[str, tuple[pa.Table, dict[str, pa.Table]]]:
    """rec_sae, neurons, random_directions -> rules read from train users; split -> confidence on its users.

    top: train users, those in whom a unit is strongest, whom its rule is read from.
    """
    found = {}
    for name, unit in units(scene.dictionary, scene.places["train"].states, seed).items():
        train = scene.places["train"]
        rules = item_concepts.interpret(unit.acts(train.states), scene.features["train"], train.owner, top=top)
        judged = {split: _confidence(rules, unit, scene, split, seed) for split in ("valid", "test")}
        found[name] = (rules, judged)
    return found


def _confidence(rules: pa.Table, unit: Units, scene: Scene, split: str, seed: int) -> pa.Table:
    places = scene.places[split]
    return item_concepts.confidence(rules, unit.acts(places.states), scene.features[split], seed, places.owner)


def summary(rules: pa.Table, judged: pa.Table) -> dict[str, float]:
    """Means over judged units, how many and which share are confident (F1 of .8), and how many of each kind."""
    count = judged.num_rows
    sure = confident_kinds(rules, judged)
    names = ("f1", "precision", "recall", "average_precision")
    means = {f"mean_{name}": float(np.mean(judged[name].to_pylist())) if count else 0.0 for name in names}
    kind_counts = {f"confident_{kind}": float(number) for kind, number in sure.items()}
    total = sum(sure.values())
    return means | kind_counts | {"judged": count, "confident": total, "confident_share": total / max(count, 1)}


def confident_kinds(rules: pa.Table, judged: pa.Table) -> dict[str, int]:
    """Kind of concept -> how many of the units judged have an F1 of .8 or more."""
    kinds = dict(zip(rules["latent"].to_pylist(), rules["kind"].to_pylist(), strict=True))
    sure = [kinds[row["latent"]] for row in judged.to_pylist() if row["f1"] >= CONFIDENT]
    return {kind: sure.count(kind) for kind in item_concepts.KINDS}


def labelled(table: pa.Table, **labels: str) -> pa.Table:
    """A table with columns before its own that say the same in every row."""
    for name, value in reversed(labels.items()):
        table = table.add_column(0, name, pa.array([value] * table.num_rows, pa.string()))
    return table


def gain(left: np.ndarray, right: np.ndarray, seed: int) -> dict[str, float]:
    """f1_gain: difference of two means over units; f1_gain_low, f1_gain_high: its 95 % bootstrap interval.

    Nothing where one side has no unit that was judged: there is no mean to compare.
    """
    if not len(left) or not len(right):
        return {}
    generator = numpy_generator(seed, "bootstrap of units")

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])

    low, high = np.quantile(means(left) - means(right), [0.025, 0.975])
    return {"f1_gain": float(left.mean() - right.mean()), "f1_gain_low": float(low), "f1_gain_high": float(high)}


def edits(scene: Scene, rules: pa.Table, judged: pa.Table, seed: int, progress: Progress | None = None) -> pa.Table:
    """Every edit of a confident latent, a row for each test user: where it is strongest, or silent and raised.

    Latents are chosen by their confidence on valid users. Columns latent, edit (of EDITS) and what `ablate` tells.
    """
    sure = [row["latent"] for row in judged.to_pylist() if row["f1"] >= CONFIDENT]
    by_latent = {row["latent"]: row for row in rules.to_pylist()}
    like = likeness(scene.taken, scene.workload.items, scene.workload.items)
    places, tables = scene.places["test"], []
    code = scene.dictionary.encode(places.states)
    for done, latent in enumerate(sure):
        rule = by_latent[latent]
        having = has_concept(rule["kind"], scene.features["train"].about[rule["feature"]], scene.known, like)
        edited = latent_of(scene.model, scene.dictionary, latent, places, having, code)
        factors = {name: factor for name, factor in EDITS.items() if factor is not None}
        found = dict(zip(factors, ablate(edited, factors=list(factors.values()), seed=seed), strict=True))
        for name in EDITS:
            told = found[name] if name in found else tune(edited, seed=seed)
            told = told.add_column(0, "edit", pa.array([name] * told.num_rows, pa.string()))
            tables.append(told.add_column(0, "latent", pa.array([latent] * told.num_rows, pa.int32())))
        if progress:
            progress(done + 1, len(sure))
    if not tables:
        return pa.table({name: pa.array([], kind) for name, kind in EDIT_COLUMNS.items()})
    return pa.concat_tables(tables).select(list(EDIT_COLUMNS))


FIGURES = ("activation", "share_before", "share_after", "random_after", "overlap", "collateral")
EDIT_COLUMNS = {
    "latent": pa.int32(), "edit": pa.string(), "user": pa.int64(), **dict.fromkeys(FIGURES, pa.float64()),
}  # fmt: skip


def edit_means(table: pa.Table) -> pa.Table:
    """Columns latent, edit, rows, and the mean over users of each figure of `edits`."""
    order = table.group_by(["latent", "edit"], use_threads=False)
    found = order.aggregate([("user", "count"), *((name, "mean") for name in FIGURES)])
    return found.select(["latent", "edit", "user_count", *(f"{name}_mean" for name in FIGURES)]).rename_columns(
        ["latent", "edit", "rows", *FIGURES]
    )


def edit_summary(table: pa.Table, edit: str, seed: int) -> dict[str, float]:
    """share_change and random_change, means over latents; right_sign: share of the latents whose concept falls (rises,
    unless they are taken out); beyond_random and its lower bound: how much further than in a random direction; overlap,
    collateral. Empty where no latent was edited. table: of `edit_means`."""
    rows = [row for row in table.to_pylist() if row["edit"] == edit]
    if not rows:
        return {}
    before, after, random = (np.array([r[n] for r in rows]) for n in ("share_before", "share_after", "random_after"))
    wanted = -1.0 if edit == TAKEN_OUT else 1.0
    beyond = wanted * (after - random)
    generator = numpy_generator(seed, "bootstrap of edits")
    drawn = [beyond[generator.integers(0, len(beyond), len(beyond))].mean() for _ in range(RESAMPLES)]
    return {
        "share_change": float((after - before).mean()),
        "random_change": float((random - before).mean()),
        "right_sign": float((wanted * (after - before) > 0).mean()),
        "beyond_random": float(beyond.mean()),
        "beyond_random_low": float(np.quantile(drawn, 0.025)),
        "overlap": float(np.mean([row["overlap"] for row in rows])),
        "collateral": float(np.mean([row["collateral"] for row in rows])),
        "latents": float(len(rows)),
    }


def cards(scene: Scene, rules: pa.Table, judged: pa.Table, edited: pa.Table, most: int = 12) -> pa.Table:
    """The most reliable latents of each kind in turn: rule, F1 on test, titles where it is strongest, effect."""
    f1 = dict(zip(judged["latent"].to_pylist(), judged["f1"].to_pylist(), strict=True))
    out = {row["latent"]: row for row in edited.to_pylist() if row["edit"] == TAKEN_OUT}
    known = [row for row in rules.to_pylist() if row["latent"] in f1]
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(known, key=lambda row: (-f1[row["latent"]], row["latent"])):
        by_kind.setdefault(row["kind"], []).append(row)
    turns = [row for place in range(most) for kind in sorted(by_kind) for row in by_kind[kind][place : place + 1]]
    code = scene.dictionary.encode(scene.places["test"].states)
    titles, recent = scene.workload.meta.vocabulary, scene.places["test"].recent
    rows = []
    for row in turns[:most]:
        z = activations(code, row["latent"])
        strongest = torch.sort(z, descending=True, stable=True).indices.tolist()
        last = list(dict.fromkeys(titles[recent[i, -1]] for i in strongest if z[i] > 0))[:PER_CARD]
        effect = out.get(row["latent"])
        rows.append(
            {
                "latent": row["latent"],
                "kind": row["kind"],
                "text": row["text"],
                "f1": f1[row["latent"]],
                "lift": row["lift"],
                "titles": last,
                "share_before": effect and effect["share_before"],
                "share_after": effect and effect["share_after"],
            }
        )
    return pa.Table.from_pylist(rows)
