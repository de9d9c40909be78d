"""How often predictions of a given confidence are right, as a table for reliability diagrams."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from winnow.errors import InputError


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> pa.Table:
    """Confidence and accuracy in equal-width bins of the largest probability (Guo et al., ICML 2017).

    probabilities: float[n, classes], rows that sum to one. labels: int[n]. A confidence on the edge of two
    bins belongs to the lower one. Returns one row per bin: low, high, count, confidence and accuracy, null in
    an empty bin; the count-weighted mean of |accuracy - confidence| is the expected calibration error.
    Raises InputError for shapes that do not fit, values outside [0, 1], or labels without a class.
    """
    scores, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(scores):
        raise InputError(f"probabilities have shape {scores.shape} and labels {truth.shape}; give [n, classes] and [n]")
    if not ((scores >= 0) & (scores <= 1)).all() or not np.allclose(scores.sum(axis=1), 1, atol=1e-4):
        raise InputError("probabilities must be from 0 to 1 and sum to 1 in each row; apply softmax to logits")
    if bins < 1 or truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise InputError(f"labels must be from 0 to {scores.shape[1] - 1}, and bins at least 1")
    confidence = scores.max(axis=1)
    correct = scores.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    empty = count == 0
    sums = {"confidence": confidence, "accuracy": correct}
    means = {k: np.bincount(index, v, minlength=bins) / np.maximum(count, 1) for k, v in sums.items()}
    columns = {"low": edges[:-1], "high": edges[1:], "count": count}
    columns |= {name: pa.array(values, mask=empty) for name, values in means.items()}
    return pa.table(columns)
