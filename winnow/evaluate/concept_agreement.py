"""How far explanations by concepts agree: across two probe sets, within one, and when cut to fewer concepts.

Ramaswamy, Kim, Fong and Russakovsky, "Overlooked Factors in Concept-Based Explanations", CVPR 2023. What two random
halves of one probe set agree on is the ceiling that sampling sets; the paper does not give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from winnow.errors import InputError
from winnow.evaluate.concept_probes import Explanation, Probe, ProbeSet, baseline_explanation, logistic
from winnow.randomness import numpy_generator


def top_concepts(explanation: Explanation, count: int = 5) -> dict[int, frozenset[int]]:
    """Class -> its concepts of largest positive coefficient, at most `count`; ties go to the first."""
    found = {}
    for label, row in zip(explanation.classes.tolist(), explanation.coefficients, strict=True):
        order = np.argsort(-row, kind="stable")[:count]
        found[label] = frozenset(int(k) for k in order if row[k] > 0)
    return found


def overlap(a: Explanation, b: Explanation, count: int = 5) -> float:
    """Mean Jaccard index of two explanations' top concepts over the classes both explain; NaN where there is none."""
    first, second = top_concepts(a, count), top_concepts(b, count)
    pairs = [(first[c], second[c]) for c in sorted(first.keys() & second.keys()) if first[c] | second[c]]
    return float(np.mean([len(x & y) / len(x | y) for x, y in pairs])) if pairs else float("nan")


def coefficient_correlation(a: Explanation, b: Explanation) -> float:
    """Pearson correlation of all coefficients over the classes that both explain; NaN where one side is constant."""
    both = np.intersect1d(a.classes, b.classes)
    x = a.coefficients[np.isin(a.classes, both)].ravel()
    y = b.coefficients[np.isin(b.classes, both)].ravel()
    return float(np.corrcoef(x, y)[0, 1]) if len(x) and np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")


def halves(probe: ProbeSet, seed: int, draw: int) -> tuple[dict[str, Probe], dict[str, Probe]]:
    """Two random halves of train, of equal size, each beside the whole valid and test."""
    train = probe["train"]
    order = numpy_generator(seed, "halves", str(draw)).permutation(len(train.predictions))
    size = len(order) // 2
    parts = (np.sort(order[:size]), np.sort(order[size : 2 * size]))
    first, second = ({**probe, "train": Probe(*(column[rows] for column in train))} for rows in parts)
    return first, second


class Comparison(NamedTuple):
    """Agreement across two probe sets, and within each: one value a draw of halves. All at half of the rows.

    cosine_*: float[draws, concepts], of the concepts compared; overlap_*: float[draws].
    """

    cosine_within: np.ndarray
    cosine_across: np.ndarray
    overlap_within: np.ndarray
    overlap_across: np.ndarray


def compare_halves(
    a: ProbeSet, b: ProbeSet, concepts: Sequence[int], draws: int = 10, *, C: float = 0.1, seed: int = 0
) -> Comparison:
    """Cosines of directions and overlaps of explanations across two sets, beside the ceiling that sampling alone sets.

    Within: between the two halves of a set, mean of both sets. Across: between a half of one and a half of the other,
    mean over both pairs. All fits see equally many rows (train of the smaller set is what counts), and one C, since a
    choice on each half would differ by chance. Raises InputError for sets of unequal size.
    """
    if len(a["train"].predictions) != len(b["train"].predictions):
        raise InputError("the probe sets differ in size; cosines compare only at equal numbers of rows")
    cosines: list[list[list[float]]] = [[], []]
    overlaps: list[list[float]] = [[], []]
    for draw in range(draws):
        parts = [part for probe in (a, b) for part in halves(probe, seed, draw)]
        fits = [_directions_at(part, concepts, C, seed) for part in parts]
        told = [baseline_explanation(part, concepts, [1.0], seed=seed) for part in parts]
        for which, pairs in enumerate(([(0, 1), (2, 3)], [(0, 2), (1, 3)])):
            cosines[which].append(np.mean([_rows_cosine(fits[i], fits[j]) for i, j in pairs], axis=0).tolist())
            overlaps[which].append(float(np.mean([overlap(told[i], told[j]) for i, j in pairs])))
    return Comparison(*(np.array(values) for values in (*cosines, *overlaps)))


def _rows_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), length, out=np.zeros(len(a)), where=length > 0)


def _directions_at(probe: ProbeSet, concepts: Sequence[int], C: float, seed: int) -> np.ndarray:
    """float[concepts, d]: directions at one C, from train alone; 0 for a concept that is constant there."""
    train = probe["train"]
    deviation = np.where(train.features.std(axis=0) > 0, train.features.std(axis=0), 1)
    scaled = (train.features - train.features.mean(axis=0)) / deviation
    found = np.zeros((len(concepts), scaled.shape[1]))
    for i, k in enumerate(concepts):
        present = train.concepts[:, k]
        if present.any() and not present.all():
            found[i] = logistic("l2", C, seed).fit(scaled, present).coef_[0] / deviation
    return found


def truncated(probe: ProbeSet, explanation: Explanation, sizes: Sequence[int], seed: int = 0) -> dict[int, float]:
    """Fidelity on test of explanations of the most used concepts alone, fitted again: size -> share.

    Concepts are ranked by their mean absolute coefficient. A statement about the explanation, not about people.
    """
    order = np.argsort(-np.abs(explanation.coefficients).mean(axis=0), kind="stable")
    fits = {size: baseline_explanation(probe, order[:size].tolist(), seed=seed) for size in sizes}
    return {size: fit.fidelity(probe["test"]) for size, fit in fits.items()}
