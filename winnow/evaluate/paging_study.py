"""Paging on traces: what a learned bit saves beside policies without one, and what wrong bits cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from winnow.compress.paging import DISCARD, PHASE, RANDOMISED, errors, lfd, phase_truth, simulate
from winnow.compress.paging_bits import Kind, fit_bits
from winnow.errors import InputError
from winnow.evaluate.paging_audit import bound
from winnow.randomness import numpy_generator
from winnow.statistics import t_interval

PLAIN = ("lru", "lfu", "fifo", "marker")
PREDICTED = (
    "blind",
    "flush_when_all_0",
    "mark0",
    "mark0_returning",
    "robust_flush",
    "robust_mark0",
    "mark_and_predict",
)
NOISY = ("flush_when_all_0", "mark0", "mark_and_predict", "robust_flush")
FLIPS: dict[str, tuple[int, ...]] = {"keep told as evict": (0,), "evict told as keep": (1,), "both": (0, 1)}
"""Which true bits are flipped."""

DRAWS, NOISE_DRAWS = 4, 16
"""Runs of a randomised policy on a trace, over which its faults are averaged, and with bits that are flipped."""
CONFIDENCE = 0.998
"""Of the interval of the faults that a randomised policy expects: each end is passed by chance once in a thousand."""

Rows = list[dict[str, Any]]


class Served(NamedTuple):
    """What policies did on a stretch of requests."""

    hits: dict[str, np.ndarray]
    """Policy -> bool[runs, n]."""
    bits: dict[Kind, np.ndarray]
    """The bits that they were told."""


def hits_of_runs(
    trace: np.ndarray, bits: np.ndarray | None, k: int, policy: str, seed: int, draws: int = DRAWS
) -> np.ndarray:
    """bool[runs, n]: whether a policy had each page, a randomised one in `draws` runs that no other seed shares."""
    seeds = range(draws * seed, draws * (seed + 1)) if policy in RANDOMISED else (seed,)
    return np.array([simulate(trace, bits, k, policy, each).hits for each in seeds])


def faults_of_runs(
    trace: np.ndarray, bits: np.ndarray | None, k: int, policy: str, seed: int, draws: int = DRAWS
) -> np.ndarray:
    """float64[runs]: faults of the same runs."""
    return (~hits_of_runs(trace, bits, k, policy, seed, draws)).sum(1).astype(float)


def served(trace: np.ndarray, k: int, seed: int, draws: int = DRAWS) -> Served:
    """The second half of a trace, which every policy starts with an empty cache.

    Bits are learned on the first half; policies whose true bits are all equal there, which leaves nothing to learn, are
    left out.
    """
    half = len(trace) // 2
    test, bits = trace[half:], _learned(trace[:half], trace[half:], k, seed)
    kinds = {policy: _kind(policy) for policy in (*PLAIN, *PREDICTED, "lfd")}
    hits = {
        policy: hits_of_runs(test, None if kind is None else bits[kind], k, policy, seed, draws)
        for policy, kind in kinds.items()
        if kind is None or kind in bits
    }
    return Served(hits, bits)


def _kind(policy: str) -> Kind | None:
    return None if policy not in PREDICTED else "phase" if policy in PHASE else "discard"


def on_trace(trace: np.ndarray, k: int, seed: int) -> dict[str, dict[str, float]]:
    """Policy -> `told` of what it did on the second half of a trace, as `served`."""
    return told(trace[len(trace) // 2 :], k, served(trace, k, seed))


def told(test: np.ndarray, k: int, found: Served) -> dict[str, dict[str, float]]:
    """Policy -> faults, hit_rate, faults_over_optimum, gap_closed (the way from LRU to the optimum), eta_0, eta_1."""
    truth: dict[Kind, np.ndarray] = {"discard": lfd(test, k)[1], "phase": phase_truth(test, k)}
    faults = {policy: float((~hits).sum(1).mean()) for policy, hits in found.hits.items()}
    lru, optimum = faults["lru"], faults["lfd"]
    values = {}
    for policy, count in faults.items():
        values[policy] = {
            "faults": count,
            "faults_over_optimum": count / optimum,
            "hit_rate": 1 - count / len(test),
            "gap_closed": (lru - count) / (lru - optimum) if lru > optimum else float("nan"),
        }
        if (kind := _kind(policy)) is not None:
            zeros, ones = errors(found.bits[kind], truth[kind])
            values[policy] |= {"eta_0": float(zeros), "eta_1": float(ones), "error": (zeros + ones) / len(test)}
    return values


def block_gaps(found: Served, blocks: int) -> dict[str, np.ndarray]:
    """Policy -> float64[blocks]: faults that it saves beside LRU in stretches of equal length, over the mean gap.

    The gap of a stretch is the optimum's saving, as a mean over all of them, so that the mean is `gap_closed`; NaN
    where LRU is optimal. For intervals: requests that lie near one another are alike.
    """
    faults = {
        policy: np.array([part.sum() for part in np.array_split((~hits).mean(0), blocks)])
        for policy, hits in found.hits.items()
    }
    gap = float((faults["lru"] - faults["lfd"]).mean())
    return {policy: (faults["lru"] - each) / (gap or float("nan")) for policy, each in faults.items()}


def _learned(train: np.ndarray, test: np.ndarray, k: int, seed: int) -> dict[Kind, np.ndarray]:
    """Kind -> bits of the test part, of the kinds that can be learned."""
    found: dict[Kind, np.ndarray] = {}
    kinds: tuple[Kind, ...] = ("discard", "phase")
    for kind in kinds:
        with suppress(InputError):  # all bits of the training part are equal
            found[kind] = fit_bits(train, k, kind, seed).bits(test)
    return found


def on_layers(trace: np.ndarray, experts: int, k: int, seed: int) -> dict[str, dict[str, float]]:
    """The same of requests layer * experts + expert, where each layer has a cache of its own, k pages in all.

    Layers take turns, so that a common cache sees a cycle, which LRU is bad at.
    """
    layers = [trace[trace // experts == layer] for layer in np.unique(trace // experts)]
    each = [on_trace(part, max(1, k // len(layers)), seed) for part in layers]
    common = [policy for policy in each[0] if all(policy in found for found in each)]
    faults = {policy: sum(found[policy]["faults"] for found in each) for policy in common}
    lru, optimum = faults["lru"], faults["lfd"]
    requests = sum(len(part) - len(part) // 2 for part in layers)
    return {
        policy: {
            "faults": count,
            "faults_over_optimum": count / optimum,
            "hit_rate": 1 - count / requests,
            "gap_closed": (lru - count) / (lru - optimum) if lru > optimum else float("nan"),
        }
        for policy, count in faults.items()
    }


def noise_sweep(
    traces: dict[str, tuple[np.ndarray, int]], chances: Sequence[float], seed: int, progress: Callable[[int, int], None]
) -> Rows:
    """Faults, optimum, errors and the bound of policies whose true bits are flipped with a chance.

    traces: name -> trace and k. Rows: trace, policy, flipped, chance, faults (the mean of the runs of a randomised
    policy), low and high (Student's interval of what it expects, of which bounds speak), optimum, eta_0, eta_1, bound,
    and exchanged: the bound with its coefficients of wrong bits exchanged (both null for robust policies).
    """
    cases = list(_noisy(traces, chances, seed))
    optima = {name: lfd(*case)[0] for name, case in traces.items()}
    rows = []
    for done, (name, policy, flipped, chance, bits, truth) in enumerate(cases):
        trace, k = traces[name]
        runs, optimum = faults_of_runs(trace, bits, k, policy, seed, NOISE_DRAWS), optima[name]
        faults, low, high = t_interval(runs, CONFIDENCE) if len(runs) > 1 else (float(runs[0]),) * 3
        zeros, ones = errors(bits, truth)
        allowed = exchanged = None
        if not policy.startswith("robust"):
            alpha, beta, gamma = bound(policy, k)
            allowed = alpha * optimum + beta * zeros + gamma * ones
            exchanged = alpha * optimum + gamma * zeros + beta * ones
        told = {"trace": name, "policy": policy, "flipped": flipped, "chance": chance}
        counts = {"faults": faults, "low": low, "high": high, "optimum": optimum, "eta_0": zeros, "eta_1": ones}
        rows.append({**told, **counts, "bound": allowed, "exchanged": exchanged})
        progress(done + 1, len(cases))
    return rows


def _noisy(
    traces: dict[str, tuple[np.ndarray, int]], chances: Sequence[float], seed: int
) -> Iterator[tuple[str, str, str, float, np.ndarray, np.ndarray]]:
    for name, (trace, k) in traces.items():
        truths = {True: lfd(trace, k)[1], False: phase_truth(trace, k)}
        for policy in NOISY:
            truth = truths[policy in DISCARD]
            for flipped, values in FLIPS.items():
                draws = numpy_generator(seed, "paging noise", name, policy, flipped).random(len(trace))
                for chance in chances:
                    wrong = np.isin(truth, values) & (draws < chance)
                    yield name, policy, flipped, chance, truth ^ wrong.astype(np.uint8), truth


def timeline(trace: np.ndarray, k: int, length: int, seed: int) -> Rows:
    """trace positions and whether each policy had the page, over the last requests: request, policy, hit."""
    truth = {True: lfd(trace, k)[1], False: phase_truth(trace, k)}
    rows: Rows = []
    for policy in ("lru", "marker", "mark_and_predict", "flush_when_all_0"):
        bits = truth[policy in DISCARD] if policy in (*DISCARD, *PHASE) else None
        hits = simulate(trace, bits, k, policy, seed).hits[-length:]
        rows += [{"request": i, "policy": policy, "hit": bool(hit)} for i, hit in enumerate(hits)]
    return rows


def worst(rows: Rows, policy: str) -> dict[str, float]:
    """What a claim needs of a sweep: faults over the optimum with true bits, at worst, and over the bound at worst.

    high_over_*: with the upper end of what the policy expects. low_over_exchanged: with the lower end over the bound
    with its coefficients exchanged; above 1 the sweep can tell the two bounds apart.
    """
    own = [row for row in rows if row["policy"] == policy]
    found = {
        "true_bits_over_optimum": max(row["high"] / row["optimum"] for row in own if row["chance"] == 0),
        "high_over_optimum": max(row["high"] / row["optimum"] for row in own),
    }
    if own[0]["bound"] is not None:
        found["high_over_bound"] = max(row["high"] / row["bound"] for row in own)
        found["low_over_exchanged"] = max(row["low"] / row["exchanged"] for row in own)
    return found
