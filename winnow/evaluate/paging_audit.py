"""Are the bounds of paging with predicted bits true? Exact costs on all short traces, and a search for bad ones.

Bounds: Antoniadis et al., "Paging with Succinct Predictions", ICML 2023: cost <= alpha OPT + beta eta_0 + gamma eta_1.
An audit in which the bound with beta and gamma exchanged passes too tells little, so that is counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from winnow.compress.paging import PHASE, errors, lfd, phase_truth, simulate
from winnow.errors import InputError
from winnow.randomness import numpy_generator

SLACK = 1e-9
BOUNDED = ("flush_when_all_0", "mark0", "mark0_returning", "mark_and_predict")
"""Policies whose bounds are audited."""


class Audit(NamedTuple):
    """Cases, and how many of them break the bound, and the bound with its two coefficients exchanged."""

    cases: int
    violations: int
    exchanged_violations: int
    tightest: float
    """Largest cost / bound over all cases."""
    of_added: float
    """Largest share of what the bound adds for wrong bits that a cost takes, of the cases with wrong bits."""


def harmonic(k: int) -> float:
    """1 + 1/2 + ... + 1/k."""
    return float((1 / np.arange(1, k + 1)).sum())


def bound(policy: str, k: int) -> tuple[float, float, float]:
    """alpha, beta and gamma; InputError for a policy without."""
    known = {
        "flush_when_all_0": (1.0, k - 1.0, 1.0),
        "mark0": (1.0, 2 * harmonic(k), 1.0),
        "mark0_returning": (1.0, 2 * harmonic(k), 1.0),
        "mark_and_predict": (2.0, harmonic(k), 1.0),
    }
    if policy not in known:
        raise InputError(f"policy: {policy!r} has no bound; use one of {', '.join(known)}")
    return known[policy]


def expected_cost(trace: np.ndarray, bits: np.ndarray, k: int, policy: str) -> float:
    """Faults that a policy expects, over all its random choices: exact, by the distribution of its states.

    Short traces only. Deterministic policies are simulated.
    """
    if policy not in ("marker", "mark0", "mark0_returning", "mark_and_predict"):
        return float(simulate(trace, bits, k, policy).faults)
    nothing = frozenset[int]()
    states = {_State(nothing, nothing, nothing): 1.0}
    told: dict[int, int] = {}
    cost = 0.0
    for page, bit in zip(np.asarray(trace).tolist(), np.asarray(bits).tolist(), strict=True):
        after: dict[_State, float] = {}
        for before, chance in states.items():
            cost += chance * (page not in before.cache)
            for (cache, marked, old), share in _after_request(before, page, k, told, policy):
                leaves = policy in ("mark0", "mark0_returning") and bit == 1
                here = (cache - {page}, marked - {page}) if leaves else (cache | {page}, marked | {page})
                after[_State(*here, old)] = after.get(_State(*here, old), 0.0) + chance * share
        states = after
        told[page] = bit
    return cost


class _State(NamedTuple):
    """What the cache holds, which of it is marked, and, where a policy asks, what it held when the phase began."""

    cache: frozenset[int]
    marked: frozenset[int]
    old: frozenset[int]


def _after_request(
    before: _State, page: int, k: int, told: dict[int, int], policy: str
) -> Iterator[tuple[_State, float]]:
    """What there can be once there is room for the page, and the chance of it."""
    cache, marked, old = before
    returns = page in old and cache != marked
    if page in cache or (len(cache) < k and not returns):
        yield before, 1.0
        return
    if marked == cache:
        marked, old = frozenset(), cache if policy == "mark0_returning" else old
    choice = cache - marked
    if policy == "mark_and_predict":
        choice = frozenset(p for p in choice if told[p]) or choice
    for victim in choice:
        yield _State(cache - {victim}, marked - {victim}, old), 1 / len(choice)


def canonical_traces(n: int, pages: int) -> Iterator[np.ndarray]:
    """Every trace of n requests of at most so many pages, up to names: a new page has the next number."""

    def grow(prefix: list[int]) -> Iterator[np.ndarray]:
        if len(prefix) == n:
            yield np.array(prefix)
            return
        for page in range(min(pages, max(prefix, default=-1) + 2)):
            yield from grow([*prefix, page])

    return grow([])


class _Case(NamedTuple):
    """One trace with its bits: cost, alpha times the optimum, what the bound adds, and what it adds exchanged."""

    cost: float
    base: float
    added: float
    exchanged: float

    def climbs(self, exchanged: bool = False) -> float:
        """Share of what the bound adds for wrong bits that the cost takes of it; what a search climbs on.

        Not cost / bound: that is greatest, 1, already where no bit is wrong, and a search would stay there.
        """
        over, added = self.cost - self.base, self.exchanged if exchanged else self.added
        if added:
            return over / added
        return float("inf") if over > SLACK else -float("inf")


def _cases(trace: np.ndarray, vectors: Iterable[np.ndarray], k: int, policy: str) -> Iterator[_Case]:
    """The case of a trace with each vector of bits."""
    alpha, beta, gamma = bound(policy, k)
    optimum, discard = lfd(trace, k)
    truth = phase_truth(trace, k) if policy in PHASE else discard
    for bits in vectors:
        zeros, ones = errors(bits, truth)
        cost = expected_cost(trace, bits, k, policy)
        yield _Case(cost, alpha * optimum, beta * zeros + gamma * ones, gamma * zeros + beta * ones)


def audit_all(n: int, k: int, policy: str) -> Audit:
    """The bound on every trace of n requests of up to k + 2 pages, with every vector of bits."""
    vectors = [np.array(bits) for bits in product((0, 1), repeat=n)]
    return _told(case for trace in canonical_traces(n, k + 2) for case in _cases(trace, vectors, k, policy))


def audit_search(n: int, k: int, policy: str, starts: int, steps: int, seed: int) -> Audit:
    """The bound on traces that were climbed to: a random change of a request or a bit stays where it costs more.

    Every other start climbs on the bound with beta and gamma exchanged, from which the bound is to be told.
    """
    generator = numpy_generator(seed, "paging audit", policy)
    found = []
    for start in range(starts):
        exchanged = start % 2 == 1
        trace, bits = generator.integers(0, k + 1, n), generator.integers(0, 2, n)
        best = next(_cases(trace, [bits], k, policy))
        for _ in range(steps):
            other, told = trace.copy(), bits.copy()
            at = generator.integers(n)
            if generator.random() < 0.5:
                other[at] = generator.integers(0, k + 2)
            else:
                told[at] = 1 - told[at]
            case = next(_cases(other, [told], k, policy))
            found.append(case)
            if case.climbs(exchanged) >= best.climbs(exchanged):
                trace, bits, best = other, told, case
    return _told(found)


def _told(cases: Iterable[_Case]) -> Audit:
    cost, base, added, exchanged = np.array(list(cases)).T
    over, wrong = cost - base, added > 0
    return Audit(
        len(cost),
        int((over - added > SLACK).sum()),
        int((over - exchanged > SLACK).sum()),
        float((cost / (base + added)).max()),
        float((over[wrong] / added[wrong]).max()) if wrong.any() else float("nan"),
    )
