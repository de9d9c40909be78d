"""How well classes of unequal size are told apart: confusion, precision, recall and F1, and F1 of two classifiers.

The paired bootstrap over examples: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
"""

from __future__ import annotations

import numpy as np

from winnow.randomness import numpy_generator


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64[classes, classes]: how many of a class (row) are taken for a class (column)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def class_scores(table: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall and f1 of every class, float64[..., classes], from confusions [..., classes, classes].

    A score of which the denominator is 0 is 0.
    """
    right = np.diagonal(table, axis1=-2, axis2=-1).astype(np.float64)
    said, true = table.sum(-2), table.sum(-1)

    def share(of: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(of, whole, out=np.zeros_like(of), where=whole > 0)

    return {"precision": share(right, said), "recall": share(right, true), "f1": share(2 * right, said + true)}


def macro_f1(table: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes, of each confusion."""
    return np.asarray(class_scores(table)["f1"].mean(-1))


def macro_f1_gain(
    labels: np.ndarray, left: np.ndarray, right: np.ndarray, classes: int, seed: int, resamples: int = 2000
) -> tuple[float, float, float]:
    """Macro-F1 of `left` less that of `right` on the same examples, and the ends of its 95 % bootstrap interval.

    labels, left, right: int64[n], classes that are true and predicted. Each resample draws examples once for both.
    """
    n = len(labels)
    rng = numpy_generator(seed, "macro f1")
    counts = rng.multinomial(n, np.full(n, 1 / n), resamples)
    differences, whole = np.zeros(resamples), 0.0
    for sign, predicted in ((1, left), (-1, right)):
        cells = np.zeros((n, classes**2))
        cells[np.arange(n), labels * classes + predicted] = 1
        drawn = (counts @ cells).reshape(resamples, classes, classes)
        differences = differences + sign * macro_f1(drawn)
        whole = whole + sign * float(macro_f1(confusion(labels, predicted, classes)))
    low, high = np.quantile(differences, [0.025, 0.975])
    return whole, float(low), float(high)
