"""Are the bounds of paging with predicted bits true? Exact costs on all short traces, and a search for bad ones.

Bounds: Antoniadis et al., "Paging with Succinct Predictions", ICML 2023: cost <= alpha OPT + beta eta_0 + gamma eta_1.
An audit in which the bound with beta and gamma exchanged passes too tells little, so that is counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from winnow.compress.paging import PHASE, errors, lfd, phase_truth, simulate
from winnow.errors import InputError
from winnow.randomness import numpy_generator

SLACK = 1e-9


class Audit(NamedTuple):
    """Cases, and how many of them break the bound, and the bound with its two coefficients exchanged."""

    cases: int
    violations: int
    exchanged_violations: int
    tightest: float
    """Largest cost / bound over all cases."""


def harmonic(k: int) -> float:
    """1 + 1/2 + ... + 1/k."""
    return float((1 / np.arange(1, k + 1)).sum())


def bound(policy: str, k: int) -> tuple[float, float, float]:
    """alpha, beta and gamma; InputError for a policy without."""
    known = {
        "flush_when_all_0": (1.0, k - 1.0, 1.0),
        "mark0": (1.0, 2 * harmonic(k), 1.0),
        "mark_and_predict": (2.0, harmonic(k), 1.0),
    }
    if policy not in known:
        raise InputError(f"policy: {policy!r} has no bound; use one of {', '.join(known)}")
    return known[policy]


def expected_cost(trace: np.ndarray, bits: np.ndarray, k: int, policy: str) -> float:
    """Faults that a policy expects, over all its random choices: exact, by the distribution of its states.

    A state is what the cache holds and which of it is marked; short traces only. Deterministic policies are simulated.
    """
    if policy not in ("marker", "mark0", "mark_and_predict"):
        return float(simulate(trace, bits, k, policy).faults)
    states = {(frozenset[int](), frozenset[int]()): 1.0}
    told: dict[int, int] = {}
    cost = 0.0
    for page, bit in zip(np.asarray(trace).tolist(), np.asarray(bits).tolist(), strict=True):
        after: dict[tuple[frozenset[int], frozenset[int]], float] = {}
        for (cache, marked), chance in states.items():
            cost += chance * (page not in cache)
            for held, kept, share in _after_request(cache, marked, page, k, told, policy):
                leaves = policy == "mark0" and bit == 1
                state = (held - {page}, kept - {page}) if leaves else (held | {page}, kept | {page})
                after[state] = after.get(state, 0.0) + chance * share
        states = after
        told[page] = bit
    return cost


def _after_request(
    cache: frozenset[int], marked: frozenset[int], page: int, k: int, told: dict[int, int], policy: str
) -> Iterator[tuple[frozenset[int], frozenset[int], float]]:
    """What the cache can hold once there is room for the page, what of it is marked, and the chance of it."""
    if page in cache or len(cache) < k:
        yield cache, marked, 1.0
        return
    if marked == cache:
        marked = frozenset()
    choice = cache - marked
    if policy == "mark_and_predict":
        choice = frozenset(p for p in choice if told[p]) or choice
    for victim in choice:
        yield cache - {victim}, marked - {victim}, 1 / len(choice)


def canonical_traces(n: int, pages: int) -> Iterator[np.ndarray]:
    """Every trace of n requests of at most so many pages, up to names: a new page has the next number."""

    def grow(prefix: list[int]) -> Iterator[np.ndarray]:
        if len(prefix) == n:
            yield np.array(prefix)
            return
        for page in range(min(pages, max(prefix, default=-1) + 2)):
            yield from grow([*prefix, page])

    return grow([])


def _slack(trace: np.ndarray, bits: np.ndarray, k: int, policy: str, cost: float) -> tuple[float, float, float]:
    """Cost less the bound, cost less the bound with beta and gamma exchanged, and cost / bound."""
    alpha, beta, gamma = bound(policy, k)
    optimum, discard = lfd(trace, k)
    zeros, ones = errors(bits, phase_truth(trace, k) if policy in PHASE else discard)
    allowed = alpha * optimum + beta * zeros + gamma * ones
    return cost - allowed, cost - (alpha * optimum + gamma * zeros + beta * ones), cost / allowed


def audit_all(n: int, k: int, policy: str) -> Audit:
    """The bound on every trace of n requests of up to k + 2 pages, with every vector of bits."""
    found = [
        _slack(trace, np.array(bits), k, policy, expected_cost(trace, np.array(bits), k, policy))
        for trace in canonical_traces(n, k + 2)
        for bits in product((0, 1), repeat=n)
    ]
    return _told(found)


def audit_search(n: int, k: int, policy: str, starts: int, steps: int, seed: int) -> Audit:
    """The bound on traces that were climbed to: a random change of a request or a bit stays where it costs more."""
    generator = numpy_generator(seed, "paging audit", policy)
    found = []
    for _ in range(starts):
        trace, bits = generator.integers(0, k + 1, n), generator.integers(0, 2, n)
        best = _slack(trace, bits, k, policy, expected_cost(trace, bits, k, policy))
        for _ in range(steps):
            other, told = trace.copy(), bits.copy()
            at = generator.integers(n)
            if generator.random() < 0.5:
                other[at] = generator.integers(0, k + 2)
            else:
                told[at] = 1 - told[at]
            slack = _slack(other, told, k, policy, expected_cost(other, told, k, policy))
            found.append(slack)
            if slack[2] >= best[2]:
                trace, bits, best = other, told, slack
    return _told(found)


def _told(found: list[tuple[float, float, float]]) -> Audit:
    broken, exchanged, ratio = np.array(found).T
    return Audit(len(found), int((broken > SLACK).sum()), int((exchanged > SLACK).sum()), float(ratio.max()))
