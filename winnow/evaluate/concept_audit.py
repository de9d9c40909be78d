"""The whole audit of one model by two probe sets: each factor's numbers as rows, from features and concepts alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow.evaluate.concept_agreement import coefficient_correlation, compare_halves, overlap, truncated
from winnow.evaluate.concept_probes import (
    Explanation,
    Probe,
    ProbeSet,
    baseline_explanation,
    bottleneck_probe,
    direction,
    normalised_ap,
    usable_concepts,
)
from winnow.randomness import numpy_generator

Rows = list[dict[str, Any]]


def split_probe(features: np.ndarray, concepts: np.ndarray, predictions: np.ndarray, sizes: Sequence[int]) -> ProbeSet:
    """Rows in order as train, valid and test of the given sizes."""
    ends = np.cumsum(sizes)
    found = {}
    for split, start, end in zip(("train", "valid", "test"), [0, *ends[:-1]], ends, strict=True):
        found[split] = Probe(features[start:end], concepts[start:end], predictions[start:end])
    return found


def shared_concepts(a: ProbeSet, b: ProbeSet, base_rate: float) -> list[int]:
    """Concepts that both probe sets can judge."""
    faults = usable_concepts(a, base_rate) | usable_concepts(b, base_rate)
    return [k for k in range(a["train"].concepts.shape[1]) if k not in faults]


def dataset_choice(
    a: ProbeSet, b: ProbeSet, concepts: Sequence[int], draws: int, seed: int
) -> tuple[dict[str, float], Rows, tuple[Explanation, Explanation]]:
    """Factor 1, what changes with the probe set: values, a row a concept and kind of cosine, both explanations."""
    told = [baseline_explanation(probe, concepts, seed=seed) for probe in (a, b)]
    values = {}
    for i, here in enumerate("ab"):
        for j, there in enumerate("ab"):
            values[f"fidelity_{here}{there}"] = told[i].fidelity((a, b)[j]["test"])
    majority = [float(np.bincount(p["test"].predictions).max() / len(p["test"].predictions)) for p in (a, b)]
    values |= {"majority_a": majority[0], "majority_b": majority[1]}
    values["fidelity_gap_a"] = values["fidelity_aa"] - values["fidelity_ab"]
    values["fidelity_gap_b"] = values["fidelity_bb"] - values["fidelity_ba"]
    values["multinomial_aa"] = baseline_explanation(a, concepts, multinomial=True, seed=seed).fidelity(a["test"])
    found = compare_halves(a, b, concepts, draws, seed=seed)
    values |= {
        "cosine_within": float(found.cosine_within.mean()),
        "cosine_across": float(found.cosine_across.mean()),
        "cosine_ratio": float(found.cosine_across.mean() / found.cosine_within.mean()),
        "overlap_within": float(np.nanmean(found.overlap_within)),
        "overlap_across": float(np.nanmean(found.overlap_across)),
        "overlap_full": overlap(told[0], told[1]),
        "correlation_full": coefficient_correlation(told[0], told[1]),
    }
    rows = [
        {"concept": int(k), "kind": kind, "cosine": float(cosines[:, i].mean())}
        for kind, cosines in (("within", found.cosine_within), ("across", found.cosine_across))
        for i, k in enumerate(concepts)
    ]
    return values, rows, (told[0], told[1])


def learnability(
    probe: ProbeSet,
    concepts: Sequence[int],
    explanation: Explanation,
    scores: np.ndarray,
    labels: np.ndarray,
    seed: int,
) -> tuple[dict[str, float], Rows]:
    """Factor 2: normalised AP of concepts, by a linear probe of the features, beside that of the classes they explain.

    scores float[n, classes], labels int[n]: the model's own on the workload's test. The number of positives that both
    are brought to is the size of a balanced class. Concepts used are those of a coefficient that is not 0; a concept is
    easy where its AP is at least the class median's. fidelity_lost: what keeping to easy concepts costs, which is all
    but the most frequent class where none is easy.
    """
    test, classes = probe["test"], scores.shape[1]
    directions = {k: direction(probe, k, seed=seed) for k in concepts}
    rows: Rows = []
    for k, found in directions.items():
        score = test.features @ found.vector + found.intercept
        nap = normalised_ap(test.concepts[:, k], score, len(score) / classes)
        rate = float(test.concepts[:, k].mean())
        rows.append({"kind": "concept", "number": int(k), "nap": nap, "base_rate": rate, "auc": found.auc_test})
    for c in range(classes):
        nap = normalised_ap(labels == c, scores[:, c], len(labels) / classes)
        rate = float((labels == c).mean())
        rows.append({"kind": "class", "number": c, "nap": nap, "base_rate": rate, "auc": None})
    of_concepts = {row["number"]: row["nap"] for row in rows if row["kind"] == "concept"}
    of_classes = np.array([row["nap"] for row in rows if row["kind"] == "class"])
    middle = float(np.nanmedian(of_classes))
    used = [k for k in of_concepts if explanation.coefficients[:, k].any()]
    easy = [k for k in of_concepts if of_concepts[k] >= middle]
    values = {
        "nap_concepts": float(np.nanmedian(list(of_concepts.values()))),
        "nap_classes": middle,
        "nap_gap_p": _permutation_p(np.array(list(of_concepts.values())), of_classes, seed),
        "used_below_class": float(np.mean([of_concepts[k] < middle for k in used])) if used else float("nan"),
        "easy_concepts": float(len(easy)),
        "fidelity_bottleneck": baseline_explanation(
            changed := bottleneck_probe(probe, directions), concepts, seed=seed
        ).fidelity(changed["test"]),
        "fidelity_all": explanation.fidelity(test),
        "fidelity_easy": _fidelity_of(probe, easy, seed),
    }
    values["fidelity_lost"] = values["fidelity_all"] - values["fidelity_easy"]
    return values, rows


def _fidelity_of(probe: ProbeSet, concepts: Sequence[int], seed: int) -> float:
    """Fidelity on test of an explanation by these concepts; by none, it always expects the most frequent class."""
    if concepts:
        return baseline_explanation(probe, concepts, seed=seed).fidelity(probe["test"])
    return float((probe["test"].predictions == np.bincount(probe["train"].predictions).argmax()).mean())


def _permutation_p(low: np.ndarray, high: np.ndarray, seed: int, draws: int = 9999) -> float:
    """Chance that shuffled groups differ in median as much as high over low does; NaNs are left out."""
    low, high = low[np.isfinite(low)], high[np.isfinite(high)]
    pooled = np.concatenate([low, high])
    observed = np.median(high) - np.median(low)
    orders = numpy_generator(seed, "learnability").permuted(np.tile(pooled, (draws, 1)), axis=1)
    gaps = np.median(orders[:, len(low) :], axis=1) - np.median(orders[:, : len(low)], axis=1)
    return float((1 + np.count_nonzero(gaps >= observed - 1e-12)) / (1 + draws))


def capability(
    probe: ProbeSet, concepts: Sequence[int], explanation: Explanation, sizes: Sequence[int]
) -> dict[str, float]:
    """Factor 3, as far as a machine goes: fidelity of explanations cut to their most used concepts, and to "all"."""
    sizes = [*(size for size in sizes if size < len(concepts)), len(concepts)]
    found = truncated(probe, explanation, sizes)
    return {"all" if size == len(concepts) else str(size): value for size, value in found.items()}
