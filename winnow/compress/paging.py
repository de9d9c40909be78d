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

import numba
import numpy as np

from winnow.errors import InputError
from winnow.randomness import numpy_generator

LRU, LFU, FIFO, MARKER, BLIND, FLUSH, MARK0, MARK_PREDICT, MARK_PREDICT_LRU = range(9)
POLICIES = {
    "lru": LRU,
    "lfu": LFU,
    "fifo": FIFO,
    "marker": MARKER,
    "blind": BLIND,
    "flush_when_all_0": FLUSH,
    "mark0": MARK0,
    "mark_and_predict": MARK_PREDICT,
    "mark_and_predict_lru": MARK_PREDICT_LRU,
}
"""blind evicts the least recent page whose bit is 1, or the least recent page."""
DISCARD = ("blind", "flush_when_all_0", "mark0", "robust_flush", "robust_mark0")
PHASE = ("mark_and_predict", "mark_and_predict_lru")
RANDOMISED = ("marker", "mark0", "mark_and_predict", "robust_mark0")
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
    faults, truth = _lfd(pages, next_requests(pages), k)
    return int(faults), truth


@numba.njit(cache=True)
def _lfd(trace: np.ndarray, following: np.ndarray, k: int) -> tuple[int, np.ndarray]:
    truth = np.zeros(len(trace), np.uint8)
    slots = np.full(k, -1, np.int64)  # the request that last brought or met the page of each slot
    faults = 0
    for t in range(len(trace)):
        at = -1
        for slot in range(k):
            if slots[slot] >= 0 and trace[slots[slot]] == trace[t]:
                at = slot
        if at < 0:
            faults += 1
            for slot in range(k):
                if slots[slot] < 0:
                    at = slot
                    break
            if at < 0:
                at = 0
                for slot in range(1, k):
                    there, best = slots[slot], slots[at]
                    further = following[there] > following[best]
                    tied = following[there] == following[best] and trace[there] < trace[best]
                    if further or tied:
                        at = slot
                truth[slots[at]] = 1
        slots[at] = t
    return faults, truth


def phases(trace: np.ndarray, k: int) -> np.ndarray:
    """int64[n]: the number of the k-phase that each request lies in."""
    pages, _ = _checked(trace, k)
    return _phases(pages, k)


@numba.njit(cache=True)
def _phases(trace: np.ndarray, k: int) -> np.ndarray:
    phase = np.zeros(len(trace), np.int64)
    seen = np.full(trace.max() + 1 if len(trace) else 0, -1, np.int64)
    now, distinct = 0, 0
    for t in range(len(trace)):
        if seen[trace[t]] != now:
            if distinct == k:
                now, distinct = now + 1, 0
            seen[trace[t]] = now
            distinct += 1
        phase[t] = now
    return phase


def phase_truth(trace: np.ndarray, k: int) -> np.ndarray:
    """Phase bits uint8[n] that are true: 0 iff the page is requested in the next phase."""
    pages, _ = _checked(trace, k)
    if not len(pages):
        return np.zeros(0, np.uint8)
    phase = _phases(pages, k)
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
        faults, _ = lfd(pages, k)
        return SimResult(faults, max(0, faults - k), np.zeros(0, bool))
    draws = numpy_generator(seed, "paging", policy).random(len(pages))
    if policy.startswith("robust_"):
        first = _serve(pages, known, k, MARK0 if policy == "robust_mark0" else FLUSH, draws)
        hits, evictions = _follow(pages, k, first, _serve(pages, known, k, LRU, draws), SWITCH)
    else:
        hits, gone, _ = _serve(pages, known, k, POLICIES[policy], draws)
        evictions = len(gone)
    return SimResult(int((~hits).sum()), int(evictions), hits)


@numba.njit(cache=True)
def _serve(
    trace: np.ndarray, bits: np.ndarray, k: int, policy: int, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits bool[n], and the pages that were evicted with the request at which each left."""
    count = trace.max() + 1 if len(trace) else 0
    slots = np.empty(k, np.int64)
    where = np.full(count, -1, np.int64)
    bit, marked = np.zeros(count, np.uint8), np.zeros(count, np.bool_)
    last, entered, uses = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    hits = np.zeros(len(trace), np.bool_)
    gone, when = np.empty(len(trace) + 1, np.int64), np.empty(len(trace) + 1, np.int64)
    size = left = 0
    for t in range(len(trace)):
        page = trace[t]
        hits[t] = where[page] >= 0
        if not hits[t]:
            first, end = 0, 0
            if size == k:
                first = _victim(slots, bit, marked, last, entered, uses, policy, draws[t])
                end = first + 1
                if first < 0:  # all bits are 0: everything goes
                    first, end = 0, k
            for slot in range(end - 1, first - 1, -1):
                gone[left], when[left] = slots[slot], t
                left += 1
                size = _remove(slots, where, marked, size, slot)
            slots[size], where[page] = page, size
            size += 1
            entered[page] = t
            uses[page] = 0
        bit[page], marked[page], last[page] = bits[t], True, t
        uses[page] += 1
        if policy == MARK0 and bits[t] == 1:
            gone[left], when[left] = page, t
            left += 1
            size = _remove(slots, where, marked, size, where[page])
    return hits, gone[:left], when[:left]


@numba.njit(cache=True)
def _remove(slots: np.ndarray, where: np.ndarray, marked: np.ndarray, size: int, slot: int) -> int:
    page, mover = slots[slot], slots[size - 1]
    slots[slot], where[mover] = mover, slot
    where[page], marked[page] = -1, False
    return size - 1


@numba.njit(cache=True)
def _victim(
    slots: np.ndarray,
    bit: np.ndarray,
    marked: np.ndarray,
    last: np.ndarray,
    entered: np.ndarray,
    uses: np.ndarray,
    policy: int,
    draw: float,
) -> int:
    """The slot of a full cache whose page goes; -1 for all of them."""
    k = len(slots)
    if policy in (MARKER, MARK0, MARK_PREDICT, MARK_PREDICT_LRU):
        if marked[slots].all():  # a new phase
            for slot in range(k):
                marked[slots[slot]] = False
        open_slots = np.flatnonzero(~marked[slots])
        if policy in (MARK_PREDICT, MARK_PREDICT_LRU):
            told = open_slots[bit[slots[open_slots]] == 1]
            open_slots = told if len(told) else open_slots
        if policy == MARK_PREDICT_LRU:
            return open_slots[np.argmin(last[slots[open_slots]])]
        return open_slots[int(draw * len(open_slots))]
    if policy == FLUSH:
        told = np.flatnonzero(bit[slots] == 1)
        return told[np.argmin(last[slots[told]])] if len(told) else -1
    if policy == BLIND:
        told = np.flatnonzero(bit[slots] == 1)
        if len(told):
            return int(told[np.argmin(last[slots[told]])])
    if policy == FIFO:
        return int(np.argmin(entered[slots]))
    if policy == LFU:  # of equals the least recent
        return int(np.argmin(uses[slots] * (last.max() + 1) + last[slots]))
    return int(np.argmin(last[slots]))


@numba.njit(cache=True)
def _follow(
    trace: np.ndarray,
    k: int,
    first: tuple[np.ndarray, np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray, np.ndarray],
    switch: float,
) -> tuple[np.ndarray, int]:
    """Hits and evictions of a cache that evicts what the algorithm it follows does not hold."""
    count = trace.max() + 1 if len(trace) else 0
    held = np.zeros((2, count), np.bool_)
    own = np.zeros(count, np.bool_)
    at, cost = np.zeros(2, np.int64), np.zeros(2, np.int64)
    hits = np.zeros(len(trace), np.bool_)
    size = evictions = follows = 0
    for t in range(len(trace)):
        page = trace[t]
        for a in range(2):
            served, gone, when = first if a == 0 else second
            cost[a] += not served[t]
            held[a, page] = True
            while at[a] < len(gone) and when[at[a]] == t:
                held[a, gone[at[a]]] = False
                at[a] += 1
        if cost[follows] > switch * cost[1 - follows]:
            follows = 1 - follows
        hits[t] = own[page]
        if not own[page]:
            if size == k:
                for other in range(count):
                    if own[other] and not held[follows, other]:
                        own[other] = False
                        size -= 1
                        evictions += 1
                        break
            own[page] = True
            size += 1
    return hits, evictions
