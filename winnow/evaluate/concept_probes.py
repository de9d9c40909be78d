"""Explanations of a model by labelled concepts of a probe set, and how far they depend on the probe set.

Ramaswamy, Kim, Fong and Russakovsky, "Overlooked Factors in Concept-Based Explanations: Dataset Choice, Concept
Learnability, and Human Capability", CVPR 2023. Explainers: the paper's L1 baseline; TCAV (Kim et al., ICML 2018);
concept bottleneck (Koh et al., ICML 2020), as the baseline on predicted concepts; and those of
`winnow.evaluate.concept_units`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from winnow.errors import InputError
from winnow.randomness import numpy_generator

GRID = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Inverse strengths of regularisation that the best on valid is taken from."""
SPLITS = ("train", "valid", "test")


class Probe(NamedTuple):
    """Rows of a probe set. features float[n, d] of a layer, concepts bool[n, K], predictions int[n] of the model."""

    features: np.ndarray
    concepts: np.ndarray
    predictions: np.ndarray


ProbeSet = Mapping[str, Probe]
"""Probes by split: train, valid, test."""


class Direction(NamedTuple):
    """A concept's direction in the features: score = features @ vector + intercept. AUCs are shares; C was chosen."""

    vector: np.ndarray
    intercept: float
    auc_valid: float
    auc_test: float
    C: float


class Explanation(NamedTuple):
    """Signed coefficients float[classes, K] of concepts for each class that the model predicts, and its fidelity."""

    coefficients: np.ndarray
    intercepts: np.ndarray
    classes: np.ndarray
    C: float

    def predict(self, concepts: np.ndarray) -> np.ndarray:
        """The class that the explanation expects the model to give: int[n]; the first of equals."""
        return self.classes[(concepts @ self.coefficients.T + self.intercepts).argmax(axis=1)]

    def fidelity(self, probe: Probe) -> float:
        """Share of rows on which the explanation expects what the model predicts."""
        return float((self.predict(probe.concepts) == probe.predictions).mean())


def area_under_curve(present: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half (Mann and Whitney, 1947); NaN where one side is empty."""
    positives = int(present.sum())
    if positives in (0, len(present)):
        return float("nan")
    rank = rankdata(score)[present].sum()
    return float((rank - positives * (positives + 1) / 2) / (positives * (len(present) - positives)))


def normalised_ap(present: np.ndarray, score: np.ndarray, positives: float) -> float:
    """Average precision if there were `positives` of them: precision is r N / (r N + false positives) at recall r.

    present: bool[n]. score: float[n]; equal scores are one threshold. Where `positives` is the number there is, this is
    the average precision. NaN where all or none are present.
    """
    found = int(present.sum())
    if found in (0, len(present)):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    true = np.cumsum(present[order])[last]
    false = last + 1 - true
    recall = true / found
    precision = recall * positives / np.maximum(recall * positives + false, np.finfo(float).tiny)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def usable_concepts(probe: ProbeSet, base_rate: float = 0.02, least: int = 5) -> dict[int, str]:
    """Concepts that a probe set cannot judge, with why: too rare or too common, or too few of a side in a split.

    base_rate: smallest share of train on each side. least: rows needed on each side in train; a third of it in the
    other splits.
    """
    faults: dict[int, str] = {}
    for split in SPLITS:
        needed = least if split == "train" else max(1, least // 3)
        present = probe[split].concepts
        smaller = np.minimum(present.sum(axis=0), (~present).sum(axis=0))
        for k in range(present.shape[1]):
            if split == "train" and smaller[k] < base_rate * len(present):
                faults.setdefault(k, f"on one side of the concept lie less than {base_rate:.0%} of train")
            elif smaller[k] < needed:
                faults.setdefault(k, f"{smaller[k]} rows of one side in {split}; {needed} are needed")
    return faults


def logistic(penalty: str, C: float, seed: int, solver: str = "liblinear") -> Any:
    """A logistic regression of scikit-learn, not yet fitted; penalty: l1 or l2."""
    from sklearn.linear_model import LogisticRegression

    steps = {"max_iter": 1000} if solver == "liblinear" else {"max_iter": 500, "tol": 1e-3}
    return LogisticRegression(C=C, l1_ratio=float(penalty == "l1"), solver=solver, random_state=seed, **steps)


def direction(probe: ProbeSet, concept: int, grid: Sequence[float] = GRID, seed: int = 0) -> Direction:
    """Concept activation vector: L2 logistic regression of a concept on standardised features, C by AUC on valid.

    Features are standardised by train; the vector is given in their own units. Raises InputError for a concept that is
    constant in train.
    """
    train, valid, test = (probe[split] for split in SPLITS)
    present = train.concepts[:, concept]
    if present.all() or not present.any():
        raise InputError(f"concept {concept} is constant in train; leave it out")
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1)
    scaled = [(p.features - mean) / deviation for p in (train, valid, test)]
    best: tuple[float, Any, float] | None = None
    for C in grid:
        model = logistic("l2", C, seed).fit(scaled[0], present)
        auc = area_under_curve(valid.concepts[:, concept], model.decision_function(scaled[1]))
        if best is None or auc > best[0]:
            best = (auc, model, C)
    assert best is not None
    auc, model, chosen = best
    vector = model.coef_[0] / deviation
    tested = area_under_curve(test.concepts[:, concept], model.decision_function(scaled[2]))
    return Direction(vector, float(model.intercept_[0] - mean @ vector), auc, tested, chosen)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two vectors; 0 where one is zero."""
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length else 0.0


def tcav(gradients: np.ndarray, vectors: np.ndarray, random_vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """TCAV score and p-value of concepts for a class: the share of images whose logit rises along the direction.

    gradients: float[n, d], of the class's logit in the features. vectors: float[K, d]. random_vectors: float[R, d],
    directions fitted to shuffled labels. p: rank of the score's distance from 1/2 among those of random directions, at
    least 1 / (R + 1).
    """
    score = (gradients @ vectors.T > 0).mean(axis=0)
    chance = np.abs((gradients @ random_vectors.T > 0).mean(axis=0) - 0.5)
    beyond = (chance[None] >= np.abs(score - 0.5)[:, None] - 1e-12).sum(axis=1)
    return score, (1 + beyond) / (1 + len(chance))


def random_directions(probe: ProbeSet, concepts: Sequence[int], count: int, C: float, seed: int) -> np.ndarray:
    """float[count, d]: directions of concepts, one after another, whose labels are shuffled in train."""
    train = probe["train"]
    generator = numpy_generator(seed, "random concepts")
    deviation = np.where(train.features.std(axis=0) > 0, train.features.std(axis=0), 1)
    scaled = (train.features - train.features.mean(axis=0)) / deviation
    found = []
    for i in range(count):
        present = generator.permutation(train.concepts[:, concepts[i % len(concepts)]])
        found.append(logistic("l2", C, seed).fit(scaled, present).coef_[0] / deviation)
    return np.stack(found)


def baseline_explanation(
    probe: ProbeSet,
    concepts: Sequence[int],
    grid: Sequence[float] = GRID,
    *,
    multinomial: bool = False,
    seed: int = 0,
) -> Explanation:
    """L1 logistic regression from concepts to the model's predictions, C by fidelity on valid, the first of equals.

    concepts: those used; coefficients of others are 0. multinomial: one softmax over all classes, instead of one
    classifier against the rest for each. Raises InputError where the model predicts one class only in train.
    """
    train, valid = probe["train"], probe["valid"]
    classes = np.unique(train.predictions)
    if len(classes) < 2:
        raise InputError(f"the model predicts class {classes[0]} for all of train; there is nothing to explain")
    used = np.asarray(concepts, int)
    inputs = train.concepts[:, used].astype(float)
    best: tuple[float, Explanation] | None = None
    for C in grid:
        coefficients, intercepts = np.zeros((len(classes), train.concepts.shape[1])), np.zeros(len(classes))
        if multinomial and len(classes) > 2:
            model = logistic("l1", C, seed, "saga").fit(inputs, train.predictions)
            coefficients[:, used], intercepts[:] = model.coef_, model.intercept_
        else:
            for i, label in enumerate(classes):
                model = logistic("l1", C, seed).fit(inputs, train.predictions == label)
                coefficients[i, used], intercepts[i] = model.coef_[0], model.intercept_[0]
        found = Explanation(coefficients, intercepts, classes, C)
        fidelity = found.fidelity(valid)
        if best is None or fidelity > best[0]:
            best = (fidelity, found)
    assert best is not None
    return best[1]


def bottleneck_probe(probe: ProbeSet, directions: Mapping[int, Direction]) -> dict[str, Probe]:
    """The probe set with each concept replaced by what its direction predicts; those without one stay absent."""
    changed = {}
    for split, part in probe.items():
        predicted = np.zeros_like(part.concepts)
        for k, found in directions.items():
            predicted[:, k] = part.features @ found.vector + found.intercept > 0
        changed[split] = part._replace(concepts=predicted)
    return changed
