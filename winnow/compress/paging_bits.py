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
    truth: np.ndarray
    """uint8[n]: its true bits."""

    def bits(self, trace: np.ndarray) -> np.ndarray:
        """uint8[n], from what came before each request, the training part included."""
        whole = np.concatenate([self.seen, np.asarray(trace)])
        if len(whole) == len(self.seen):
            return np.zeros(0, np.uint8)
        features = np.column_stack([request_features(whole), past_bits(whole, self.truth)])[len(self.seen) :]
        return self.model.predict(features).astype(np.uint8)


def request_features(trace: np.ndarray) -> np.ndarray:
    """float64[n, 4] of each request, nothing of what comes after.

    log(1 + each): requests since the page's last, mean time between its requests, its requests before this one, and
    their share of all requests so far.
    """
    n = len(trace)
    order, first, start = _by_page(trace)
    count = np.arange(n) - start  # earlier requests of the same page
    since = np.where(first, NEVER, np.concatenate([[0], np.diff(order)]) if n else 0.0)
    between = np.where(count > 0, (order - order[start]) / np.maximum(count, 1), NEVER)
    features = np.empty((n, 4))
    features[order] = np.log1p(np.column_stack([since, between, count, count / (order + 1)]))
    return features


def past_bits(trace: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64[n, 2] of each request: smoothed share of ones among the page's earlier known bits, and the last of them.

    truth: the bits uint8[m] of the first m requests, all that is known. Where a page has none both are the share of
    ones of all. Its own bit is never among them, so a request tells nothing of its answer.
    """
    n, m, prior = len(trace), len(truth), float(np.mean(truth)) if len(truth) else 0.0
    if not n:
        return np.zeros((0, 2))
    order, _, start = _by_page(trace)
    known, bits = np.arange(n) < m, np.concatenate([truth, np.zeros(n - m)])
    known, bits = known[order].astype(int), bits[order]

    def before(x: np.ndarray) -> np.ndarray:
        """The sum of x over the earlier requests of the same page."""
        total = np.cumsum(x) - x
        return total - total[start]

    last = np.concatenate([[-1], np.maximum.accumulate(np.where(known, np.arange(n), -1))[:-1]])
    found = np.empty((n, 2))
    found[order, 0] = (before(bits) + prior) / (before(known) + 1)
    found[order, 1] = np.where(last >= start, bits[last], prior)
    return found


def _by_page(trace: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Requests by page and time; in this order, whether each is its page's first, and where its page begins."""
    trace = np.asarray(trace)
    n = len(trace)
    order = np.lexsort((np.arange(n), trace))
    page = trace[order]
    first = np.concatenate([[True], page[1:] != page[:-1]]) if n else np.zeros(0, bool)
    return order, first, np.maximum.accumulate(np.where(first, np.arange(n), 0))


def true_bits(trace: np.ndarray, k: int, kind: Kind) -> np.ndarray:
    """uint8[n]: the true bits of a trace that ends where it ends; what would follow is not known."""
    return lfd(trace, k)[1] if kind == "discard" else phase_truth(trace, k)


def fit_bits(trace: np.ndarray, k: int, kind: Kind = "discard", seed: int = 0) -> Predictor:
    """Boosted trees on recency, frequency, time between requests, and the page's earlier bits as far as known.

    trace: int[n], the training part, on which the true bits are computed. Trees are fitted on its second half, whose
    requests are told the bits of the first half, computed on that alone: in use, too, bits end before the requests that
    are asked for. A bit of the same phase would be the answer itself. Raises InputError where all true bits, or all of
    the second half, are equal, and for k below 1.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    trace = np.asarray(trace)
    truth, half = true_bits(trace, k, kind), len(trace) // 2
    for part, bits in (("the training part", truth), ("the second half of the training part", truth[half:])):
        share = float(bits.mean()) if len(bits) else 0.0
        if share in (0.0, 1.0):
            raise InputError(f"k: is {k}, and all {kind} bits of {part} are {share:.0f}; change k")
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    features = np.column_stack([request_features(trace), past_bits(trace, true_bits(trace[:half], k, kind))])
    model.fit(features[half:], truth[half:])
    return Predictor(model, trace, truth)
