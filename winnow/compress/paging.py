"""Paging with one predicted bit for each request.

Antoniadis, Boyar, Elias, Favrholdt, Hoeksma, Larsen, Polak and Simon, "Paging with Succinct Predictions", ICML 2023.
Furthest in the future: Belady, "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM Systems Journal,
1966. Marking: Fiat, Karp, Luby, McGeoch, Sleator and Young, "Competitive Paging Algorithms", Journal of Algorithms,
1991.

A cache holds k pages of equal size; a request of a page that it does not hold is a fault and costs 1. A *discard bit*
is 1 where the optimal offline algorithm evicts the page before it is next requested. A *phase bit* is 0 where the page
is requested in the next phase, a phase being a longest run of requests of at most k different pages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from winnow.compress import _paging_loops as loops
from winnow.errors import InputError
from winnow.randomness import numpy_generator

POLICIES = {
    "lru": loops.LRU,
    "lfu": loops.LFU,
    "fifo": loops.FIFO,
    "marker": loops.MARKER,
    "blind": loops.BLIND,
    "flush_when_all_0": loops.FLUSH,
    "mark0": loops.MARK0,
    "mark0_returning": loops.MARK0_RETURNING,
    "mark_and_predict": loops.MARK_PREDICT,
    "mark_and_predict_lru": loops.MARK_PREDICT_LRU,
}
"""blind evicts the least recent page whose bit is 1, or the least recent page. mark0_returning is another reading of
Mark0: a page that was held when the phase began, left since and comes back takes the place of one that has not been
requested in the phase, though there be room.
"""
DISCARD = ("blind", "flush_when_all_0", "mark0", "mark0_returning", "robust_flush", "robust_mark0")
PHASE = ("mark_and_predict", "mark_and_predict_lru")
RANDOMISED = ("marker", "mark0", "mark0_returning", "mark_and_predict", "robust_mark0")
SWITCH = 2.0
"""A robust policy leaves the algorithm that it follows when that costs this many times what the other costs."""


class SimResult(NamedTuple):
    """What a policy did on a trace."""

    faults: int
    evictions: int
    hits: np.ndarray
    """bool[n]"""


def _checked(trace: np.ndarray, k: int, bits: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The trace with pages numbered from 0, and the bits, 0 where there are none."""
    trace = np.asarray(trace)
    if k < 1:
        raise InputError(f"k: is {k}; a cache holds 1 page or more")
    if trace.ndim != 1 or not np.issubdtype(trace.dtype, np.integer):
        raise InputError(f"trace: is {trace.dtype} of shape {trace.shape}; give one whole number for each request")
    bits = np.zeros(len(trace), np.uint8) if bits is None else np.asarray(bits)
    if bits.shape != trace.shape:
        raise InputError(f"bits: are {len(bits)} for {len(trace)} requests; give one for each")
    if not np.isin(bits, (0, 1)).all():
        raise InputError("bits: there are others than 0 and 1; correct the predictor")
    return np.unique(trace, return_inverse=True)[1].astype(np.int64), bits.astype(np.uint8)


def next_requests(trace: np.ndarray) -> np.ndarray:
    """int64[n]: when the page of each request is next requested; n where never."""
    order = np.lexsort((np.arange(len(trace)), trace))
    following = np.full(len(trace), len(trace), np.int64)
    same = trace[order][1:] == trace[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    return following


def lfd(trace: np.ndarray, k: int) -> tuple[int, np.ndarray]:
    """Faults of the optimal offline algorithm, and the discard bits uint8[n] that are true.

    It evicts the page that is requested furthest ahead; of pages that are never requested again the least number. A
    page that is not requested again and not evicted has bit 0. Raises InputError for k below 1.
    """
    pages, _ = _checked(trace, k)
    hits, truth = loops.lfd(pages, next_requests(pages), k)
    return int((~hits).sum()), truth


def phases(trace: np.ndarray, k: int) -> np.ndarray:
    """int64[n]: the number of the k-phase that each request lies in."""
    pages, _ = _checked(trace, k)
    return loops.phases(pages, k)


def phase_truth(trace: np.ndarray, k: int) -> np.ndarray:
    """Phase bits uint8[n] that are true: 0 iff the page is requested in the next phase."""
    pages, _ = _checked(trace, k)
    if not len(pages):
        return np.zeros(0, np.uint8)
    phase = loops.phases(pages, k)
    width = pages.max() + 1
    return (~np.isin((phase + 1) * width + pages, np.unique(phase * width + pages))).astype(np.uint8)


def errors(bits: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """eta_0 and eta_1: how many predicted 0 are 1 in truth, and how many predicted 1 are 0."""
    wrong = np.asarray(bits) != np.asarray(truth)
    return int((wrong & (np.asarray(bits) == 0)).sum()), int((wrong & (np.asarray(bits) == 1)).sum())


def simulate(trace: np.ndarray, bits: np.ndarray | None, k: int, policy: str, seed: int = 0) -> SimResult:
    """Serve a trace from an empty cache.

    trace: int[n], a page a request. bits: one for each request, 0 or 1; None for policies that take none. policy: one
    of POLICIES, lfd, robust_flush or robust_mark0. Raises InputError for an unknown policy, k below 1, and bits that
    are missing, of another number, or others than 0 and 1.
    """
    if policy not in {*POLICIES, "lfd", "robust_flush", "robust_mark0"}:
        raise InputError(f"policy: unknown name {policy!r}; use one of {', '.join(POLICIES)}, lfd, robust_*")
    if bits is None and policy in (*DISCARD, *PHASE):
        raise InputError(f"bits: {policy} needs one for each request")
    pages, known = _checked(trace, k, bits)
    if policy == "lfd":
        hits, truth = loops.lfd(pages, next_requests(pages), k)
        return SimResult(int((~hits).sum()), int(truth.sum()), hits)
    draws = numpy_generator(seed, "paging", policy).random(len(pages))
    if policy.startswith("robust_"):
        first = loops.serve(pages, known, k, loops.MARK0 if policy == "robust_mark0" else loops.FLUSH, draws)
        hits, evictions = loops.follow(pages, k, first, loops.serve(pages, known, k, loops.LRU, draws), SWITCH)
    else:
        hits, gone, _ = loops.serve(pages, known, k, POLICIES[policy], draws)
        evictions = len(gone)
    return SimResult(int((~hits).sum()), int(evictions), hits)
