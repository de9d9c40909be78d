"""A predictor of the one bit for each request, learned from the past of a trace.

Labels come from the offline algorithm run on the training part alone, so nothing of what follows leaks into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from winnow.compress.paging import lfd, phase_truth
from winnow.errors import InputError

Kind = Literal["discard", "phase"]
NEVER = 1e6
"""Requests since a page that was not requested before."""


@dataclass(frozen=True)
class Predictor:
    """Bits for the requests that follow a training part."""

    model: Any
    seen: np.ndarray
    """int64[n]: the training part."""
    shares: dict[int, float]
    """Page -> smoothed share of its training requests whose bit is 1."""
    prior: float

    def bits(self, trace: np.ndarray) -> np.ndarray:
        """uint8[n], from what came before each request, the training part included."""
        whole = np.concatenate([self.seen, np.asarray(trace)])
        features = request_features(whole)[len(self.seen) :]
        shares = np.array([self.shares.get(int(page), self.prior) for page in trace])
        return self.model.predict(np.column_stack([features, shares])).astype(np.uint8)


def request_features(trace: np.ndarray) -> np.ndarray:
    """float64[n, 4] of each request: log of requests since the page's last and of the mean time between, log of its
    requests so far, and of how many different pages are as frequent as now: nothing of what comes after."""
    trace = np.asarray(trace)
    n = len(trace)
    order = np.lexsort((np.arange(n), trace))
    page = trace[order]
    first = np.concatenate([[True], page[1:] != page[:-1]]) if n else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, np.arange(n), 0))
    count = np.arange(n) - start  # earlier requests of the same page
    since = np.where(first, NEVER, np.concatenate([[0], np.diff(order)]) if n else 0.0)
    between = np.where(count > 0, (order - order[start]) / np.maximum(count, 1), NEVER)
    features = np.empty((n, 4))
    features[order] = np.log1p(np.column_stack([since, between, count, count / (order + 1)]))
    return features


def fit_bits(trace: np.ndarray, k: int, kind: Kind = "discard", seed: int = 0) -> Predictor:
    """Boosted trees on recency, frequency, time between requests and the page's share of ones in training.

    trace: int[n], the training part, on which the true bits are computed. The share of a request leaves its own bit
    out. Raises InputError where all true bits are equal, and for k below 1.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    trace = np.asarray(trace)
    truth = lfd(trace, k)[1] if kind == "discard" else phase_truth(trace, k)
    prior = float(truth.mean()) if len(truth) else 0.0
    if prior in (0.0, 1.0):
        raise InputError(f"k: is {k}, and all {kind} bits of the training part are {prior:.0f}; change k")
    pages, index = np.unique(trace, return_inverse=True)
    ones, number = np.bincount(index, truth), np.bincount(index)
    # As if one more request of each page had been met, with the share of all.
    held_out = (ones[index] - truth + prior) / number[index]
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    model.fit(np.column_stack([request_features(trace), held_out]), truth)
    shares = dict(zip(pages.tolist(), ((ones + prior) / (number + 1)).tolist(), strict=True))
    return Predictor(model, trace, shares, prior)
