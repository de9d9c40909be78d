"""Recommenders without a network over sequences: what a sequential one has to beat.

Item neighbours: Sarwar, Karypis, Konstan and Riedl, "Item-based Collaborative Filtering Recommendation Algorithms", WWW
2001, as Ferrari Dacrema, Cremonesi and Jannach, "Are We Really Making Much Progress?", RecSys 2019, set them. Matrix
factorisation: Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
Feedback", UAI 2009. EASE: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. First-order Markov
chains as the rival of Rendle, Freudenthaler and Schmidt-Thieme, "Factorizing Personalized Markov Chains", WWW 2010.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, logsigmoid

from winnow.errors import InputError
from winnow.randomness import torch_generator
from winnow.workloads.interactions import Asked, Sequences

Scorer = Callable[[Asked], Tensor]
"""Scores float[u, items + 1] of what a split asks; column 0 means nothing."""
SHRINKAGE = 10.0
SMOOTHING = 1.0
FACTORS = 64
PAIRS = 1024
RATE = 2e-3
DECAY = 1e-5


def popularity(train: Sequences, items: int) -> Scorer:
    """How often each item was taken, the same for all users."""
    counts = torch.from_numpy(np.bincount(train.items, minlength=items + 1)).double()
    return lambda asked: counts.expand(len(asked.users), -1)


def markov(train: Sequences, items: int) -> Scorer:
    """How often each item came right after the user's last one; a unit of popularity speaks where that says little."""
    followed = train.users[1:] == train.users[:-1]
    places = train.items[:-1][followed] * (items + 1) + train.items[1:][followed]
    counts = torch.from_numpy(np.bincount(places, minlength=(items + 1) ** 2)).view(items + 1, items + 1).double()
    overall = torch.from_numpy(np.bincount(train.items, minlength=items + 1)).double()
    chances = (counts + SMOOTHING * overall / overall.sum()) / (counts.sum(1, keepdim=True) + SMOOTHING)
    return lambda asked: chances[asked.histories[:, -1]]


def _together(train: Sequences, items: int) -> Tensor:
    """float64[items + 1, items + 1]: how many users took both."""
    taken = torch.zeros(int(train.users.max()) + 1, items + 1, dtype=torch.float64)
    taken[torch.from_numpy(train.users), torch.from_numpy(train.items)] = 1
    return taken.T @ taken


def _weights(asked: Asked, decay: float, width: int) -> Tensor:
    """float64[u, width]: decay ** age of each item of a history, 0 of others; the last item has age 0."""
    ages = torch.arange(asked.seen.shape[1] - 1, -1, -1, dtype=torch.float64)
    weights = torch.zeros(len(asked.users), width, dtype=torch.float64)
    # Where an item was taken twice, the later time counts.
    weights.scatter_reduce_(1, asked.seen, (decay**ages).expand(asked.seen.shape), "amax")
    weights[:, 0] = 0
    return weights


def likeness(train: Sequences, items: int, neighbours: int = 100) -> Tensor:
    """float64[items + 1, items + 1]: the cosine of two items over users, shrunk by 10, 0 but for nearest neighbours."""
    both = _together(train, items)
    own = both.diagonal()
    like = both / ((own[:, None] * own[None]).sqrt() + SHRINKAGE)
    like.fill_diagonal_(0)
    kept = min(neighbours, items)
    least = like.topk(kept, dim=1).values[:, -1:]
    return torch.where(like >= least, like, 0.0)


def item_neighbours(like: Tensor, decay: float = 1.0) -> Scorer:
    """Likeness of each item to those of the history, summed; decay: weight of an item against the one after it."""
    return lambda asked: _weights(asked, decay, len(like)) @ like


def ease(train: Sequences, items: int, penalty: float = 250.0) -> Scorer:
    """A linear model from a history to each item, without the item itself, in closed form: B = I - P diag(1 / P)."""
    gram = _together(train, items)[1:, 1:]
    inverse = torch.linalg.inv(gram + penalty * torch.eye(items, dtype=torch.float64))
    weights = torch.zeros(items + 1, items + 1, dtype=torch.float64)
    weights[1:, 1:] = -inverse / inverse.diagonal()
    weights.fill_diagonal_(0)
    return lambda asked: _weights(asked, 1.0, items + 1) @ weights


def factorisation(
    train: Sequences, items: int, users: int, *, epochs: int, seed: int, judge: Callable[[Scorer], float]
) -> Scorer:
    """64 factors of users and items and a bias of items, fitted by BPR: what was taken before what was not.

    Users without events have no factors, so that biases speak. judge: what the best of all epochs is chosen by.
    Raises InputError for a user who took all items.
    """
    generator = torch_generator(seed, "factorisation")
    user, item = torch.from_numpy(train.users), torch.from_numpy(train.items)
    taken = torch.zeros(users, items + 1, dtype=torch.bool)
    taken[user, item] = True
    taken[:, 0] = True
    if taken.all(1).any():
        raise InputError(f"train: a user took all {items} items; leave the user out")
    sizes = [(users, FACTORS), (items + 1, FACTORS), (items + 1, 1)]
    parts = [0.1 * torch.randn(size, generator=generator) for size in sizes]
    parts[0][~taken[:, 1:].any(1)] = 0
    parts[2].zero_()
    for part in parts:
        part.requires_grad_(True)
    updater = torch.optim.Adam(parts, lr=RATE)
    best, chosen = -np.inf, [part.detach().clone() for part in parts]
    for _ in range(epochs):
        order = torch.randperm(len(user), generator=generator)
        for rows in order.split(PAIRS):
            drawn = _not_taken(taken, user[rows], generator)
            loss = _bpr(parts, user[rows], item[rows], drawn)
            updater.zero_grad()
            loss.backward()
            updater.step()
        found = judge(_factor_scorer(parts))
        if found > best:
            best, chosen = found, [part.detach().clone() for part in parts]
    return _factor_scorer(chosen)


def _bpr(parts: list[Tensor], user: Tensor, item: Tensor, drawn: Tensor) -> Tensor:
    p, q, bias = parts
    # Rows are looked up once for both terms, as embeddings, whose gradients are summed without sorting.
    both = torch.cat([item, drawn])
    of_users, of_items = embedding(user, p), embedding(both, q)
    taken, other = of_items.chunk(2)
    own, others = embedding(both, bias)[:, 0].chunk(2)
    difference = (of_users * (taken - other)).sum(1) + (own - others)
    size = of_users.square().sum() + of_items.square().sum()
    return -logsigmoid(difference).mean() + DECAY * size


def _not_taken(taken: Tensor, user: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(1, taken.shape[1], user.shape, generator=generator)
    while (again := taken[user, drawn]).any():
        drawn[again] = torch.randint(1, taken.shape[1], (int(again.sum()),), generator=generator)
    return drawn


def _factor_scorer(parts: list[Tensor]) -> Scorer:
    p, q, bias = (part.detach() for part in parts)
    return lambda asked: p[torch.from_numpy(asked.users)] @ q.T + bias[:, 0]
