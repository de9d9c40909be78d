"""Near-duplicate images: clusters linked by root-mean-square pixel distance, exact, without comparing all
pairs in full.

Candidates come from two lower bounds of the distance: the difference of image means, and the distance of
block averages (Yi and Faloutsos, "Fast Time Sequence Indexing for Arbitrary Lp Norms", VLDB 2000; Keogh,
Chakrabarti, Pazzani and Mehrotra, "Dimensionality Reduction for Fast Similarity Search in Large Time Series
Databases", KAIS 2001). Both only ever rule out pairs that are too far apart, so the clusters are those of the
brute-force comparison.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from winnow.errors import InputError

BLOCKS = 7
ROWS = 512
PAIRS = 1 << 14
SLACK = 1e-6
"""Relative allowance for rounding in the lower bounds; candidates are then compared in whole numbers."""


def _block_sketch(images: np.ndarray) -> np.ndarray:
    """float64[n, features]: block sums over the root of their size, a projection that shortens distances."""
    count, height, width, channels = images.shape
    rows = np.linspace(0, height, min(BLOCKS, height) + 1).astype(int)
    columns = np.linspace(0, width, min(BLOCKS, width) + 1).astype(int)
    sums = np.add.reduceat(images, rows[:-1], axis=1, dtype=np.int64)
    sums = np.add.reduceat(sums, columns[:-1], axis=2)
    sizes = np.outer(np.diff(rows), np.diff(columns))[..., None]
    return (sums / np.sqrt(sizes)).reshape(count, -1)


def _candidate_blocks(images: np.ndarray, limit: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (i, j) whose lower bounds do not exceed `limit`, the largest sum of squared differences."""
    sketch = _block_sketch(images)
    values = images[0].size
    # Cauchy-Schwarz: the images' sums differ by at most sqrt(values) times their distance.
    sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.int64)
    order = np.argsort(sums, kind="stable")
    sketch, sums = sketch[order], sums[order]
    squares = (sketch**2).sum(axis=1)
    reach = np.searchsorted(sums, sums + np.sqrt(limit * values) * (1 + SLACK) + SLACK, side="right")
    for first in range(0, len(images), ROWS):
        last = min(first + ROWS, len(images))
        end = int(reach[last - 1])
        distance = squares[first:last, None] + squares[None, first:end] - 2 * sketch[first:last] @ sketch[first:end].T
        allowance = limit * (1 + SLACK) + SLACK * (squares[first:end].max() + 1)
        left, right = np.nonzero(distance <= allowance)
        later = (right > left) & (right + first < reach[left + first])
        yield order[left[later] + first], order[right[later] + first]


def _close_pairs(flat: np.ndarray, left: np.ndarray, right: np.ndarray, limit: float) -> np.ndarray:
    """bool per pair: is the sum of squared differences, in whole numbers, at most `limit`."""
    close = np.empty(len(left), dtype=bool)
    for first in range(0, len(left), PAIRS):
        part = slice(first, first + PAIRS)
        difference = flat[left[part]].astype(np.int32) - flat[right[part]]
        close[part] = np.einsum("pd,pd->p", difference, difference, dtype=np.int64) <= limit
    return close


def near_duplicate_clusters(images: np.ndarray, distance: float) -> np.ndarray:
    """Cluster of every image: linked, directly or through others, by at most `distance`.

    images: uint8[n, height, width, channels]. distance: root-mean-square difference of two images' values, as
    a share of their range of 255, in [0, 1]; 0 links identical images only. Returns int64[n]; clusters are
    numbered by their first image. Raises InputError for a distance outside [0, 1].
    """
    if not 0 <= distance <= 1:
        raise InputError(f"near_duplicate_distance is {distance}; it is a share of the pixel range, 0 to 1")
    count = len(images)
    cluster = np.arange(count)
    if not count:
        return cluster
    flat = images.reshape(count, -1)
    limit = (255 * distance) ** 2 * flat.shape[1]
    for left, right in _candidate_blocks(images, limit):
        apart = cluster[left] != cluster[right]  # pairs already linked need no second look
        left, right = left[apart], right[apart]
        close = _close_pairs(flat, left, right, limit)
        edges = (cluster[left[close]], cluster[right[close]])
        if len(edges[0]):
            graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(count, count))
            merged = connected_components(graph, directed=False)[1]
            cluster = merged[cluster]
    _, first, inverse = np.unique(cluster, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[inverse]
