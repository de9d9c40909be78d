"""What cutting images into regions shares: colours in which distances count, and connected labels.

Labels are int32[h, w], 0 to k - 1 in the order in which regions appear, and every region is connected through edges.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from winnow.errors import InputError

TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])
"""sRGB under daylight D65 (IEC 61966-2-1)."""


def calm(image: np.ndarray) -> np.ndarray:
    """A speckled image for segmentation only: medians over 3 x 3 pixels of each channel."""
    return np.asarray(ndimage.median_filter(image, size=(3, 3, *[1] * (image.ndim - 2))))


def colours(image: np.ndarray) -> np.ndarray:
    """float64[h, w, c] between 0 and 1: grey as it is, three channels as a hundredth of CIELAB.

    image: [h, w], [h, w, 1] or [h, w, 3], of any scale; its own range counts as 0 to 1. Raises InputError for other
    shapes and for values that are not finite.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise InputError(f"image has shape {image.shape}; give height x width, with 1 or 3 channels if any")
    values = np.atleast_3d(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("image has a NaN or infinite pixel; mend it before it is segmented")
    low, high = values.min(), values.max()
    values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return values if values.shape[2] == 1 else _lab(values) / 100


def _lab(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ TO_XYZ.T / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def connected(labels: np.ndarray, smallest: float = 0) -> np.ndarray:
    """Labels int32[h, w] whose regions are connected: each piece of a label is one, and numbers follow the pixels.

    A piece of fewer than `smallest` pixels, smallest first, goes to the neighbour with which it shares most edges.
    """
    h, w = labels.shape
    number = np.arange(h * w).reshape(h, w)
    ends = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    a, b = (np.concatenate([pair[side].ravel() for pair in ends]) for side in (0, 1))
    flat = labels.ravel()
    equal = flat[a] == flat[b]
    graph = sparse.coo_matrix((np.ones(equal.sum()), (a[equal], b[equal])), (h * w, h * w))
    pieces = sparse.csgraph.connected_components(graph, directed=False)[1]
    if smallest > 0:
        pieces = _merge_small(pieces, pieces[a], pieces[b], smallest)
    _, first, inverse = np.unique(pieces, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse].reshape(h, w)


def _merge_small(pieces: np.ndarray, a: np.ndarray, b: np.ndarray, smallest: float) -> np.ndarray:
    """Pieces after merging; a, b: pieces on both sides of every edge between pixels."""
    count = int(pieces.max()) + 1
    size = np.bincount(pieces).tolist()
    apart = a != b
    pairs, edges = np.unique(np.sort(np.stack([a[apart], b[apart]]), axis=0), axis=1, return_counts=True)
    shared: list[dict[int, int]] = [{} for _ in range(count)]
    for (one, other), number in zip(pairs.T.tolist(), edges.tolist(), strict=True):
        shared[one][other] = shared[other][one] = number
    into = np.arange(count)
    alive = {piece for piece in range(count) if size[piece] < smallest}
    while alive:  # a small piece leaves the loop each time
        piece = min(alive, key=lambda p: (size[p], p))
        alive.discard(piece)
        if size[piece] >= smallest or not shared[piece]:
            continue
        host = max(shared[piece], key=lambda p: (shared[piece][p], -p))
        into[into == piece] = host
        size[host] += size[piece]
        for other, number in shared[piece].items():
            del shared[other][piece]
            if other != host:
                shared[host][other] = shared[other][host] = shared[host].get(other, 0) + number
    return into[pieces]
