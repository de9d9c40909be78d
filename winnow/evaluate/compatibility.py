"""Can a gallery that an old model indexed be searched with queries of a new one?

The criterion and its matrix: Shen et al., "Towards Backward-Compatible Representation Learning", CVPR 2020; average
compatibility and average accuracy over a sequence: Biondi et al., "CL2R: Compatible Lifelong Learning Representations",
ACM TOMM 2023, as "Stationary Representations" (CVPR 2024) reports them. Distances are cosine distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from winnow.errors import InputError

Reduce = Literal["mean", "none"]


def identification(
    query: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    reduce: Reduce = "mean",
) -> float:
    """Share of queries whose nearest gallery entry has their label, in [0, 1].

    query: float[q, d], gallery: float[g, d], labels int[q], int[g]. reduce "mean" searches one template for each
    class, the normalised mean of its normalised features; "none" every entry. Ties go to the first,
    and so does a feature of length 0. Raises InputError for features of two widths or not finite, and for labels of
    another number.
    """
    queries, entries = _unit_rows(query, query_labels, "query"), _unit_rows(gallery, gallery_labels, "gallery")
    if queries.shape[1] != entries.shape[1]:
        raise InputError(f"query features have {queries.shape[1]} dimensions, the gallery's {entries.shape[1]}")
    labels = np.asarray(gallery_labels)
    if reduce == "mean":
        labels, index = np.unique(labels, return_inverse=True)
        sums = np.zeros((len(labels), entries.shape[1]))
        np.add.at(sums, index, entries)
        entries = _unit_rows(sums, labels, "gallery template")
    found = labels[(queries @ entries.T).argmax(axis=1)]
    return float((found == np.asarray(query_labels)).mean())


def compatibility_matrix(
    queries: Sequence[np.ndarray],
    galleries: Sequence[np.ndarray],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    reduce: Reduce = "mean",
) -> np.ndarray:
    """C[t][k]: identification with queries of model t in the gallery of model k <= t; float64[T, T], NaN for k > t.

    queries, galleries: the features that each of T models gives for the same query and gallery images.
    """
    if len(queries) != len(galleries):
        raise InputError(f"{len(queries)} models gave queries and {len(galleries)} a gallery; give both for each")
    matrix = np.full((len(queries), len(queries)), np.nan)
    for t in range(len(queries)):
        for k in range(t + 1):
            matrix[t, k] = identification(queries[t], galleries[k], query_labels, gallery_labels, reduce)
    return matrix


def average_compatibility(matrix: np.ndarray) -> float:
    """AC: share of pairs t > k with C[t][k] > C[k][k]; a tie is not compatible. NaN for fewer than two models."""
    checked = _lower(matrix)
    rows, columns = np.tril_indices(len(checked), -1)
    if not len(rows):
        return float("nan")
    return float((checked[rows, columns] > checked.diagonal()[columns]).mean())


def average_accuracy(matrix: np.ndarray) -> float:
    """AA: mean of the lower triangle with its diagonal. A value of 0 counts as 0."""
    checked = _lower(matrix)
    return float(checked[np.tril_indices(len(checked))].mean())


def reindexed_accuracy(matrix: np.ndarray) -> float:
    """AA if every gallery were indexed again by the model that queries it: the ceiling, C[t][t] in place of C[t][k]."""
    checked = _lower(matrix)
    return average_accuracy(np.repeat(checked.diagonal()[:, None], len(checked), axis=1))


def inequality_rates(old: np.ndarray, new: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """How often the two inequalities that define compatibility hold, over ordered pairs of different images.

    old, new: float[n, d], features of the same images. Of pairs (a, b) of one class, the share with
    d(new(a), old(b)) <= d(old(a), old(b)); of pairs of two classes, the share with >=. NaN where there is no pair.
    """
    before, after = _unit_rows(old, labels, "old"), _unit_rows(new, labels, "new")
    if before.shape != after.shape:
        raise InputError(f"old features are {before.shape} and new ones {after.shape}; give both for the same images")
    closer = after @ before.T - before @ before.T  # > 0: the new feature of a is nearer to the old one of b
    same = np.equal.outer(np.asarray(labels), np.asarray(labels))
    twins = same & ~np.eye(len(same), dtype=bool)
    return _share(closer[twins] >= 0), _share(closer[~same] <= 0)


def scores(
    queries: Sequence[np.ndarray],
    galleries: Sequence[np.ndarray],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
) -> tuple[list[tuple[str, float, int | None]], list[dict[str, Any]]]:
    """All scores of T models, as (metric, value, step), and the cells of their matrices.

    Arguments as `compatibility_matrix`. own_gallery and first_gallery at step t (from 1) are C[t][t] and C[t][1];
    the prefix nearest_ means that every gallery entry is searched; the inequality rates compare the last model
    with the first, on the queries. A cell is {reduce, t, k, value}, counted from 1.
    """
    rows: list[tuple[str, float, int | None]] = []
    cells: list[dict[str, Any]] = []
    ways: tuple[tuple[Reduce, str], ...] = (("mean", ""), ("none", "nearest_"))
    for reduce, prefix in ways:
        matrix = compatibility_matrix(queries, galleries, query_labels, gallery_labels, reduce)
        rows += [(f"{prefix}average_compatibility", average_compatibility(matrix), None)]
        rows += [(f"{prefix}average_accuracy", average_accuracy(matrix), None)]
        rows += [(f"{prefix}reindexed_accuracy", reindexed_accuracy(matrix), None)]
        rows += [(f"{prefix}own_gallery", matrix[t, t], t + 1) for t in range(len(matrix))]
        rows += [(f"{prefix}first_gallery", matrix[t, 0], t + 1) for t in range(len(matrix))]
        cells += [
            {"reduce": reduce, "t": t + 1, "k": k + 1, "value": float(matrix[t, k])}
            for t in range(len(matrix))
            for k in range(t + 1)
        ]
    same, different = inequality_rates(queries[0], queries[-1], query_labels)
    return [*rows, ("same_class_closer", same, None), ("other_classes_further", different, None)], cells


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if len(hits) else float("nan")


def _unit_rows(features: np.ndarray, labels: np.ndarray, which: str) -> np.ndarray:
    values = np.asarray(features, dtype=float)
    if values.ndim != 2 or not len(values) or len(values) != len(labels):
        raise InputError(f"{which} features have shape {values.shape} for {len(labels)} labels; give one row a label")
    if not np.isfinite(values).all():
        raise InputError(f"a {which} feature is NaN or infinite; train the model again")
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    # A feature whose units are all dead has no direction; left at zero, it is as near to all entries.
    return values / np.where(lengths > 0, lengths, 1.0)


def _lower(matrix: np.ndarray) -> np.ndarray:
    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise InputError(f"compatibility matrix has shape {values.shape}; it must be square, a row for each model")
    if not np.isfinite(values[np.tril_indices(len(values))]).all():
        raise InputError("a compatibility matrix has an entry that is not finite below its diagonal")
    return values
