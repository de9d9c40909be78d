"""The loops over requests that paging consists of, compiled; pages are numbered from 0."""

from __future__ import annotations

import numba
import numpy as np

LRU, LFU, FIFO, MARKER, BLIND, FLUSH, MARK0, MARK_PREDICT, MARK_PREDICT_LRU, MARK0_RETURNING = range(10)


@numba.njit(cache=True)
def lfd(trace: np.ndarray, following: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits bool[n] and true discard bits of the policy that evicts what is requested furthest ahead."""
    truth = np.zeros(len(trace), np.uint8)
    slots = np.full(k, -1, np.int64)  # the request that last brought or met the page of each slot
    hits = np.zeros(len(trace), np.bool_)
    for t in range(len(trace)):
        at = -1
        for slot in range(k):
            if slots[slot] >= 0 and trace[slots[slot]] == trace[t]:
                at = slot
        hits[t] = at >= 0
        if at < 0:
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
    return hits, truth


@numba.njit(cache=True)
def phases(trace: np.ndarray, k: int) -> np.ndarray:
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


@numba.njit(cache=True)
def serve(
    trace: np.ndarray, bits: np.ndarray, k: int, policy: int, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits bool[n], and the pages that were evicted with the request at which each left."""
    count = trace.max() + 1 if len(trace) else 0
    slots = np.empty(k, np.int64)
    where = np.full(count, -1, np.int64)
    bit, marked = np.zeros(count, np.uint8), np.zeros(count, np.bool_)
    old = np.zeros(count, np.bool_)  # what was held when the latest phase began
    last, entered, uses = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    hits = np.zeros(len(trace), np.bool_)
    gone, when = np.empty(len(trace) + 1, np.int64), np.empty(len(trace) + 1, np.int64)
    size = left = 0
    for t in range(len(trace)):
        page = trace[t]
        hits[t] = where[page] >= 0
        if not hits[t]:
            first, end = 0, 0
            if policy == MARK0_RETURNING and size == k and marked[slots].all():
                old[:] = False
                old[slots] = True
            # An old page that comes back takes the place of another one, though there be room.
            returns = policy == MARK0_RETURNING and size > 0 and old[page] and not marked[slots[:size]].all()
            if size == k or returns:
                first = _victim(slots[:size], bit, marked, last, entered, uses, policy, draws[t])
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
        if policy in (MARK0, MARK0_RETURNING) and bits[t] == 1:
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
    """Of the slots that are filled, the one whose page goes; -1 for all of them."""
    k = len(slots)
    if policy in (MARKER, MARK0, MARK0_RETURNING, MARK_PREDICT, MARK_PREDICT_LRU):
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
def follow(
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
