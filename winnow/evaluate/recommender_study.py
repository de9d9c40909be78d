"""Recommenders side by side: plain ones and trained ones on the same questions, over all items.

Each plain recommender that has a setting takes the one that ranks best on valid, as trained ones take their best epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.randomness import numpy_generator
from winnow.train import plain_recommenders as plain
from winnow.train.plain_recommenders import Scorer
from winnow.workloads.interactions import Asked, Interactions
from winnow.workloads.ranking import gains, ranking_metrics, ranks, top_items

NEIGHBOURS = (20, 50, 100, 200)
DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9)
PENALTIES = (50.0, 100.0, 250.0, 500.0, 1000.0)
DRAWS = 5
TOP = 10
STRATA = 4
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Arm:
    """A recommender that is compared: what it is called, how it scores, and with which setting."""

    name: str
    score: Scorer
    setting: str = ""


def rank_all(arm: Arm, asked: Asked) -> np.ndarray:
    """float64[u]: rank of each user's target."""
    return ranks(arm.score(asked), asked.targets, asked.seen)


def judged(workload: Interactions) -> Callable[[Scorer], float]:
    """What the best of several settings is chosen by: NDCG@10 on valid."""
    asked = workload.asked("valid")
    return lambda score: float(gains(ranks(score(asked), asked.targets, asked.seen)).mean())


def plain_arms(workload: Interactions, epochs: int, seed: int) -> Iterator[Arm]:
    """Popularity, a Markov chain, item neighbours without and with recency, factorisation, EASE, each at its best."""
    train, items, judge = workload.sequences("train"), workload.items, judged(workload)

    def best(name: str, settings: Mapping[str, Scorer]) -> Arm:
        setting = max(settings, key=lambda key: judge(settings[key]))
        return Arm(name, settings[setting], setting)

    like = {f"{k} neighbours": plain.likeness(train, items, k) for k in NEIGHBOURS}
    yield Arm("popularity", plain.popularity(train, items))
    yield Arm("markov", plain.markov(train, items))
    yield best("item_neighbours", {setting: plain.item_neighbours(table) for setting, table in like.items()})
    pairs = [(setting, decay) for setting in like for decay in DECAYS]
    recent = {f"{setting}, decay {decay}": plain.item_neighbours(like[setting], decay) for setting, decay in pairs}
    yield best("recent_neighbours", recent)
    users = int(workload.sequences("test").users.max()) + 1
    yield Arm("factorisation", plain.factorisation(train, items, users, epochs=epochs, seed=seed, judge=judge))
    yield best("ease", {f"penalty {penalty:g}": plain.ease(train, items, penalty) for penalty in PENALTIES})


def trained_arm(workload: Interactions, name: str, model: nn.Module) -> Arm:
    """A model of the workload."""
    return Arm(name, lambda asked: workload.scores(model, asked.histories))


def shuffled(asked: Asked, seed: int, draw: int, ties_only: bool = False) -> Asked:
    """The same questions with the last events of each history, as many as a model reads, in an order drawn by chance.

    ties_only: only events of equal time change places.
    """
    chance = torch.from_numpy(numpy_generator(seed, "histories", str(draw)).random(asked.histories.shape))
    order = torch.argsort(chance.masked_fill(asked.histories == 0, -1.0), dim=1)
    if ties_only:
        order = order.gather(1, torch.argsort(asked.times.gather(1, order), dim=1, stable=True))
    histories = asked.histories.gather(1, order)
    seen, width = asked.seen.clone(), min(asked.seen.shape[1], histories.shape[1])
    seen[:, -width:] = histories[:, -width:]
    return asked._replace(histories=histories, seen=seen, times=asked.times.gather(1, order))


def strata(values: np.ndarray) -> dict[str, np.ndarray]:
    """Four equally large parts by value: "<least> to <most>" -> bool[u]; fewer where values are few."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, STRATA + 1), method="nearest"))
    part = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    found = {int(i): part == i for i in np.unique(part)}
    return {f"{values[mask].min():g} to {values[mask].max():g}": mask for mask in found.values()}


class Ranked(NamedTuple):
    """What an arm makes of each user's question: ranks float64[u] of the targets of either split."""

    valid: np.ndarray
    test: np.ndarray
    shuffled: np.ndarray
    """float64[draws, u]: on test, with histories in other orders."""
    ties: np.ndarray
    """The same where only events of equal time change places."""
    offered: np.ndarray
    """int64[u, 10]: the best items on test that each user has not seen."""


def ranked(arm: Arm, workload: Interactions, seed: int) -> Ranked:
    """All that metrics of an arm are made of, each ranking once."""
    asked = workload.asked("test")
    scores = arm.score(asked)
    mixed, ties = (
        np.array([rank_all(arm, shuffled(asked, seed, draw, ties_only)) for draw in range(DRAWS)])
        for ties_only in (False, True)
    )
    return Ranked(
        valid=rank_all(arm, workload.asked("valid")),
        test=ranks(scores, asked.targets, asked.seen),
        shuffled=mixed,
        ties=ties,
        offered=top_items(scores, asked.seen, TOP).numpy(),
    )


def told_of(found: Ranked, workload: Interactions) -> dict[str, dict[str, dict[str, float]]]:
    """Split -> variant -> metrics of an arm.

    plain: ranking on valid and test, share of the items that are among anyone's ten, and how often these were taken in
    training. shuffled, ties: test with histories in other orders, a mean over draws. history, popularity: NDCG@10 on
    test by the length of the history and by how often the target was taken.
    """
    asked = workload.asked("test")
    counts = np.bincount(workload.events("train")["item"], minlength=workload.items + 1)
    test = {
        "plain": ranking_metrics(found.test)
        | {
            "coverage": len(np.unique(found.offered)) / workload.items,
            "offered_popularity": float(counts[found.offered].mean()),
        }
    }
    for name, draws in (("shuffled", found.shuffled), ("ties", found.ties)):
        drawn = [ranking_metrics(placed) for placed in draws]
        test[name] = {metric: float(np.mean([one[metric] for one in drawn])) for metric in drawn[0]}
    lengths = (asked.seen > 0).sum(1).numpy()
    for what, values in (("history", lengths), ("popularity", counts[asked.targets.numpy()])):
        for name, mask in strata(values).items():
            test[f"{what} {name}"] = {"ndcg10": float(gains(found.test[mask]).mean()), "users": float(mask.sum())}
    return {"valid": {"plain": ranking_metrics(found.valid)}, "test": test}


def by_user(found: Ranked, users: np.ndarray) -> dict[str, list[tuple[str, float, int]]]:
    """Variant -> (user_ndcg10, gain, user) on test, with histories as they are, shuffled, and with ties shuffled.

    users: int64[u], whom test asks. Where shuffled, gains are means over draws.
    """
    told = {"plain": gains(found.test), "shuffled": gains(found.shuffled).mean(0), "ties": gains(found.ties).mean(0)}
    return {
        name: [("user_ndcg10", float(gain), user) for gain, user in zip(values, users.tolist(), strict=True)]
        for name, values in told.items()
    }


def rank_rows(arms: Mapping[str, Ranked], workload: Interactions) -> dict[str, list[Any]]:
    """Columns arm, user, rank_valid, rank_test of the users that both splits ask."""
    valid, test = (workload.asked(split).users for split in ("valid", "test"))
    both, first, second = np.intersect1d(valid, test, return_indices=True)
    rows: dict[str, list[Any]] = {"arm": [], "user": [], "rank_valid": [], "rank_test": []}
    for name, found in arms.items():
        rows["arm"] += [name] * len(both)
        rows["user"] += both.tolist()
        rows["rank_valid"] += found.valid[first].tolist()
        rows["rank_test"] += found.test[second].tolist()
    return rows


@torch.no_grad()
def nearest(
    embedding: Tensor, counts: np.ndarray, titles: list[str], shown: int = 8, near: int = 5
) -> list[dict[str, Any]]:
    """Rows (title, rank, near, cosine): the items nearest, by embeddings, to those that are taken most.

    embedding: float[items + 1, d]. Items that hardly anybody took are left out of the near ones.
    """
    known = np.flatnonzero(counts >= min(20, int(np.sort(counts)[-shown - near])))
    unit = nn.functional.normalize(embedding[known], dim=1)
    rows = []
    for item in np.argsort(-counts, kind="stable")[:shown]:
        cosines = unit @ nn.functional.normalize(embedding[item], dim=0)
        cosines[torch.from_numpy(known == item)] = -2
        for place, other in enumerate(cosines.topk(near).indices.tolist()):
            told = {"title": titles[item], "rank": place + 1, "near": titles[known[other]]}
            rows.append(told | {"cosine": float(cosines[other])})
    return rows
