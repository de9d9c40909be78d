"""How good clusters are: beside known classes, and by the objective of k-means.

Accuracy after the best one-to-one matching of clusters and classes (Kuhn, 1955), as Yang, Xu, Nie, Yan and Zhuang use
it in "Image Clustering Using Local Discriminant Models and Global Integration", IEEE TIP 2010.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from winnow.errors import InputError

BLOCK = 1024


def clustering_scores(y: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """acc, nmi, ari, ami, homogeneity, completeness of clusters beside classes, each at most 1.

    y: classes int[n]; labels: clusters int[n]. A cluster beyond the number of classes is matched with none, and
    all its members count as wrong. Raises InputError for no rows or two lengths.
    """
    from sklearn import metrics

    y, labels = np.asarray(y), np.asarray(labels)
    if y.ndim != 1 or y.shape != labels.shape or not len(y):
        raise InputError(f"classes {y.shape} and clusters {labels.shape} must be two vectors of one length")
    return {
        "acc": matched_accuracy(y, labels),
        "nmi": float(metrics.normalized_mutual_info_score(y, labels)),
        "ari": float(metrics.adjusted_rand_score(y, labels)),
        "ami": float(metrics.adjusted_mutual_info_score(y, labels)),
        "homogeneity": float(metrics.homogeneity_score(y, labels)),
        "completeness": float(metrics.completeness_score(y, labels)),
    }


def matched_accuracy(y: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose cluster is matched with their class, by the best one-to-one matching."""
    counts = contingency(y, labels)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(y))


def contingency(y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows in each cluster (rows, those that occur) and class (columns): int64[clusters, classes]."""
    _, clusters = np.unique(labels, return_inverse=True)
    _, classes = np.unique(y, return_inverse=True)
    counts = np.zeros((clusters.max() + 1, classes.max() + 1), np.int64)
    np.add.at(counts, (clusters, classes), 1)
    return counts


def kmeans_objective(x: np.ndarray, centres: np.ndarray) -> float:
    """Sum of squared distances to the nearest centre, in float64. x: float[n, d], centres: float[k, d]."""
    x, centres = np.asarray(x, float), np.asarray(centres, float)
    if x.ndim != 2 or centres.ndim != 2 or x.shape[1] != centres.shape[1]:
        raise InputError(f"rows {x.shape} and centres {centres.shape} must have as many columns")
    blocks = (x[i : i + BLOCK] for i in range(0, len(x), BLOCK))
    # Differences, not the expanded square, which loses digits where distances are small.
    return float(sum(((b[:, None] - centres) ** 2).sum(axis=2).min(axis=1).sum() for b in blocks))
