"""The classes and units of one model explained by the concepts of one probe set, explainer by explainer.

Side by side: the baseline's coefficients, TCAV with its p-value, the decomposition of what a class's logit rises with
into directions of concepts, and dissection. See `winnow.evaluate.concept_probes` and `winnow.evaluate.concept_units`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from winnow.evaluate.concept_probes import Explanation, ProbeSet, direction, random_directions, tcav
from winnow.evaluate.concept_units import basis_decomposition, dissect

Rows = list[dict[str, Any]]


def explained_classes(
    probe: ProbeSet,
    told: Explanation,
    concepts: Sequence[int],
    names: Sequence[str],
    gradients: Mapping[int, np.ndarray],
    draws: int,
    seed: int,
) -> tuple[np.ndarray, Rows]:
    """The directions float[concepts, d] of a probe set, and a row a class and concept.

    Keys: class (its number), concept (its name), coefficient, tcav, p, basis, residual. gradients: by class
    float[n, d], of its logit in the features of n images. draws: directions of shuffled concepts that TCAV is judged
    by. basis: coefficient in the positive combination of directions that comes nearest to the mean gradient, which is
    the class's weight where the head is linear; residual: the share of its squared length that is left.
    """
    vectors = np.stack([direction(probe, k, seed=seed).vector for k in concepts])
    chance = random_directions(probe, concepts, draws, 0.1, seed)
    rows: Rows = []
    for label, coefficients in zip(told.classes.tolist(), told.coefficients, strict=True):
        share, p = tcav(gradients[label], vectors, chance)
        basis, residual = basis_decomposition(gradients[label].mean(axis=0), vectors)
        rows += [
            {"class": label, "concept": names[k], "coefficient": float(coefficients[k])}
            | {"tcav": float(share[i]), "p": float(p[i]), "basis": float(basis[i]), "residual": residual}
            for i, k in enumerate(concepts)
        ]
    return vectors, rows


def explained_units(activations: np.ndarray, masks: np.ndarray, names: Sequence[str]) -> Rows:
    """A row a unit: unit, concept of the largest overlap (null where none is above the least), iou.

    activations: float[n, units, h, w]. masks: bool[n, K, H, W].
    """
    overlap = dissect(activations, masks)
    best = overlap.argmax(axis=1)
    return [
        {"unit": unit, "concept": names[k] if overlap[unit, k] > 0 else None, "iou": float(overlap[unit, k])}
        for unit, k in enumerate(best.tolist())
    ]


def summary(classes: Rows, units: Rows) -> dict[str, float]:
    """tcav_significant: share of pairs of class and concept with p below .05. basis_residual: mean over classes of what
    the decomposition leaves. units_named: share of units with a concept.
    """
    left = {row["class"]: row["residual"] for row in classes}
    return {
        "tcav_significant": float(np.mean([row["p"] < 0.05 for row in classes])),
        "basis_residual": float(np.mean(list(left.values()))),
        "units_named": float(np.mean([row["concept"] is not None for row in units])),
    }
