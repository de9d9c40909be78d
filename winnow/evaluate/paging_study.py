"""Paging on traces: what a learned bit saves beside policies without one, and what wrong bits cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from winnow.compress.paging import DISCARD, PHASE, errors, lfd, phase_truth, simulate
from winnow.compress.paging_bits import fit_bits
from winnow.evaluate.paging_audit import bound
from winnow.randomness import numpy_generator

PLAIN = ("lru", "lfu", "fifo", "marker")
PREDICTED = ("blind", "flush_when_all_0", "mark0", "robust_flush", "robust_mark0", "mark_and_predict")
NOISY = ("flush_when_all_0", "mark0", "mark_and_predict", "robust_flush")
FLIPS: dict[str, tuple[int, ...]] = {"keep told as evict": (0,), "evict told as keep": (1,), "both": (0, 1)}
"""Which true bits are flipped."""

Rows = list[dict[str, Any]]


def on_trace(trace: np.ndarray, k: int, seed: int) -> dict[str, dict[str, float]]:
    """Policy -> faults, faults over the optimum, share of the way from LRU to it, eta_0 and eta_1 on the second half.

    Every policy starts the second half with an empty cache. Bits are learned on the first half.
    """
    half = len(trace) // 2
    test = trace[half:]
    optimum, discard = lfd(test, k)
    truth = {"discard": discard, "phase": phase_truth(test, k)}
    kinds = {policy: "phase" if policy in PHASE else "discard" for policy in PREDICTED}
    bits = {kind: fit_bits(trace[:half], k, kind, seed).bits(test) for kind in ("discard", "phase")}
    lru = simulate(test, None, k, "lru").faults
    found = {}
    for policy in (*PLAIN, *PREDICTED, "lfd"):
        kind = kinds.get(policy)
        faults = simulate(test, None if kind is None else bits[kind], k, policy, seed).faults
        found[policy] = {
            "faults": float(faults),
            "faults_over_optimum": faults / optimum,
            "gap_closed": (lru - faults) / (lru - optimum) if lru > optimum else float("nan"),
        }
        if kind is not None:
            zeros, ones = errors(bits[kind], truth[kind])
            found[policy] |= {"eta_0": float(zeros), "eta_1": float(ones), "error": (zeros + ones) / len(test)}
    return found


def on_layers(trace: np.ndarray, experts: int, k: int, seed: int) -> dict[str, dict[str, float]]:
    """The same of requests layer * experts + expert, where each layer has a cache of its own, k pages in all.

    Layers take turns, so that a common cache sees a cycle, which LRU is bad at.
    """
    layers = [trace[trace // experts == layer] for layer in np.unique(trace // experts)]
    each = [on_trace(part, max(1, k // len(layers)), seed) for part in layers]
    faults = {policy: sum(found[policy]["faults"] for found in each) for policy in each[0]}
    lru, optimum = faults["lru"], faults["lfd"]
    return {
        policy: {
            "faults": count,
            "faults_over_optimum": count / optimum,
            "gap_closed": (lru - count) / (lru - optimum) if lru > optimum else float("nan"),
        }
        for policy, count in faults.items()
    }


def noise_sweep(
    traces: dict[str, tuple[np.ndarray, int]], chances: Sequence[float], seed: int, progress: Callable[[int, int], None]
) -> Rows:
    """Faults, optimum, errors and the bound of policies whose true bits are flipped with a chance.

    traces: name -> trace and k. Rows: trace, policy, flipped, chance, faults, optimum, eta_0, eta_1, bound (null for
    robust policies).
    """
    cases = list(_noisy(traces, chances, seed))
    rows = []
    for done, (name, policy, flipped, chance, bits, truth) in enumerate(cases):
        trace, k = traces[name]
        faults, optimum = simulate(trace, bits, k, policy, seed).faults, lfd(trace, k)[0]
        zeros, ones = errors(bits, truth)
        allowed = None
        if not policy.startswith("robust"):
            alpha, beta, gamma = bound(policy, k)
            allowed = alpha * optimum + beta * zeros + gamma * ones
        told = {"trace": name, "policy": policy, "flipped": flipped, "chance": chance}
        counts = {"faults": faults, "optimum": optimum, "eta_0": zeros, "eta_1": ones}
        rows.append({**told, **counts, "bound": allowed})
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
    """What a claim needs of a sweep: faults over the optimum with true bits, at worst, and over the bound at worst."""
    own = [row for row in rows if row["policy"] == policy]
    ratio = [row["faults"] / row["optimum"] for row in own]
    found = {
        "true_bits_over_optimum": max(r for r, row in zip(ratio, own, strict=True) if row["chance"] == 0),
        "worst_over_optimum": max(ratio),
    }
    if own[0]["bound"] is not None:
        found["worst_over_bound"] = max(row["faults"] / row["bound"] for row in own)
    return found
