"""Ranking all items for each user, and what a ranking is worth where one item is right.

Over all items, never over sampled ones: Krichene and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError


def without(scores: Tensor, seen: Tensor, targets: Tensor) -> Tensor:
    """A copy of scores float[u, items + 1] in which padding and what a user has seen are out of the race.

    seen: int64[u, s], items of each user, 0 where there are fewer. The target int64[u] stays, seen or not.
    """
    kept = scores.gather(1, targets[:, None])
    out = scores.scatter(1, seen, float("-inf"))
    out[:, 0] = float("-inf")
    return out.scatter(1, targets[:, None], kept)


def ranks(scores: Tensor, targets: Tensor, seen: Tensor) -> np.ndarray:
    """Rank of each user's target among all items that it has not seen: float64[u], 1 at best.

    An item of equal score counts as half before and half behind. Arguments are those of `without`. Raises InputError
    for a target outside the items and for a score of a target that is not finite.
    """
    items = scores.shape[1] - 1
    if len(targets) and not 1 <= int(targets.min()) <= int(targets.max()) <= items:
        raise InputError(f"targets: reach from {int(targets.min())} to {int(targets.max())}; items are 1 to {items}")
    left = without(scores.double(), seen, targets)
    own = left.gather(1, targets[:, None])
    if not torch.isfinite(own).all():
        raise InputError("scores: a target's is NaN or infinite; train the model again")
    before, equal = (left > own).sum(1), (left == own).sum(1) - 1
    return (1 + before + equal / 2).double().numpy()


def top_items(scores: Tensor, seen: Tensor, k: int = 10) -> Tensor:
    """int64[u, k]: the best items that each user has not seen, best first, ties to the lower number."""
    left = scores.scatter(1, seen, float("-inf"))
    left[:, 0] = float("-inf")
    best = left.topk(min(k + 1, left.shape[1]), dim=1)
    if best.values.shape[1] <= k or (best.values[:, -1] == best.values[:, -2]).any():
        return torch.sort(left, dim=1, descending=True, stable=True).indices[:, :k]
    # No tie reaches beyond the best, so that they alone need sorting.
    found = best.indices[:, :k].sort(dim=1).values
    return found.gather(1, torch.sort(left.gather(1, found), dim=1, descending=True, stable=True).indices)


def gains(found: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG at k of each rank float64[u], where one item is right: 1 / log2(1 + rank), 0 beyond k."""
    return np.where(found <= k, 1 / np.log2(1 + found), 0.0)


def ranking_metrics(found: np.ndarray, k: int = 10) -> dict[str, float]:
    """hr<k>, ndcg<k> and mrr of ranks float64[u], each a mean over users. Raises InputError without a user."""
    if not len(found):
        raise InputError("ranks: of no user; give a split with targets")
    return {
        f"ndcg{k}": float(gains(found, k).mean()),
        f"hr{k}": float((found <= k).mean()),
        "mrr": float((1 / found).mean()),
    }
