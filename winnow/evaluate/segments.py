"""Cutting images into regions: SLIC, quickshift, grids and random cells, at a number of regions one asks for.

SLIC: Achanta, Shaji, Smith, Lucchi, Fua and Suesstrunk, "SLIC Superpixels Compared to State-of-the-Art Superpixel
Methods", IEEE TPAMI, 2012. Quickshift: Vedaldi and Soatto, "Quick Shift and Kernel Methods for Mode Seeking", ECCV
2008.

Labels are int32[h, w], 0 to k - 1 in the order in which regions appear, and every region is connected through edges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import spatial

from winnow.errors import InputError
from winnow.evaluate.connected_regions import colours, connected
from winnow.randomness import numpy_generator

SMALLEST = 0.25
"""Share of a mean region below which a piece is merged into a neighbour (Achanta et al.: S^2 / 4)."""
SEARCH = 14
"""Halvings of the scale in `match_count`."""
Segmenter = Callable[[np.ndarray, float], np.ndarray]
"""(image, scale) -> labels; a larger scale gives fewer regions."""


def slic(image: np.ndarray, segments: float = 50, compactness: float = 0.1, iterations: int = 10) -> np.ndarray:
    """Labels of k-means in colour and place, each centre searching the 2S x 2S pixels about it.

    segments: about how many. compactness: m, the weight of place; .1 here is 10 in units of CIELAB. Centres start on a
    grid, at the place of lowest gradient within 3 x 3 pixels. Pieces below a quarter of S^2 are merged afterwards.
    """
    features = colours(image)
    h, w, c = features.shape
    _require_count(segments, h * w)
    step = (h * w / segments) ** 0.5  # S
    y, x = _grid_centres(h, w, segments)
    y, x = _calmest(features, y, x)
    centres = np.concatenate([features[y, x] / compactness, np.stack([y, x], 1) / step], axis=1)
    place = np.moveaxis(np.mgrid[:h, :w], 0, -1) / step
    points = np.concatenate([features / compactness, place], axis=-1)
    labels = np.zeros((h, w), np.int64)
    reach = int(np.ceil(step))
    for _ in range(iterations):
        nearest = np.full((h, w), np.inf)
        for k, centre in enumerate(centres):  # once per centre and iteration, on its window alone
            row, column = np.rint(centre[c:] * step).astype(int)
            window = (
                slice(max(row - reach, 0), row + reach + 1),
                slice(max(column - reach, 0), column + reach + 1),
            )
            distance = ((points[window] - centre) ** 2).sum(-1)
            closer = distance < nearest[window]
            nearest[window][closer] = distance[closer]
            labels[window][closer] = k
        counts = np.bincount(labels.ravel(), minlength=len(centres))
        sums = [np.bincount(labels.ravel(), points[..., d].ravel(), len(centres)) for d in range(c + 2)]
        kept = counts > 0
        centres[kept] = (np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None])[kept]
    return connected(labels, SMALLEST * step**2)


def _require_count(segments: float, pixels: int) -> None:
    if not 2 <= segments <= pixels:
        raise InputError(f"segments is {segments:g}; give 2 to the {pixels} pixels of the image")


def _grid_centres(h: int, w: int, segments: float) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = _grid_shape(h, w, segments)
    y = ((np.arange(rows) + 0.5) * h / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * w / columns).astype(int)
    grid = np.meshgrid(y, x, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def _grid_shape(h: int, w: int, segments: float) -> tuple[int, int]:
    """Rows and columns of nearly square cells whose number is nearest to `segments`."""
    side = (h * w / segments) ** 0.5
    choices = [
        (rows, columns)
        for rows in {int(h / side), int(h / side) + 1}
        for columns in {int(w / side), int(w / side) + 1}
        if 1 <= rows <= h and 1 <= columns <= w
    ]
    return min(choices, key=lambda shape: (abs(shape[0] * shape[1] - segments), shape))


def _calmest(features: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of lowest gradient within one pixel of each centre."""
    h, w, _ = features.shape
    steepness = np.stack(np.gradient(features, axis=(0, 1))) ** 2
    gradient = steepness.sum(axis=(0, 3))
    offset = np.array([(0, 0)] + [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])
    rows = np.clip(y[:, None] + offset[:, 0], 0, h - 1)
    columns = np.clip(x[:, None] + offset[:, 1], 0, w - 1)
    best = gradient[rows, columns].argmin(axis=1)
    at = np.arange(len(y))
    return rows[at, best], columns[at, best]


def quickshift(
    image: np.ndarray, kernel: float = 3.0, max_distance: float = 8.0, ratio: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Labels of the trees that are left when links to the nearest pixel of higher density are cut; see `trees`.

    Links may pass over pixels of other trees, so that a tree can lie in pieces: each piece of kernel^2 pixels or more
    becomes a region, and smaller ones go to a neighbour.
    """
    return connected(trees(image, kernel, max_distance, ratio, seed), kernel**2)


def trees(
    image: np.ndarray, kernel: float = 3.0, max_distance: float = 8.0, ratio: float = 1.0, seed: int = 0
) -> np.ndarray:
    """int64[h, w]: for every pixel the number of the root that it is linked to, in quickshift's forest.

    kernel: standard deviation of the Gaussian that density is estimated with, in pixels. max_distance: length, in
    colour and place together, above which a link is cut. ratio: weight of colour, of which grey spans 0 to 100 as
    lightness does. Neighbours are looked for within three kernels; equal densities are told apart by seeded noise.
    """
    if kernel <= 0 or max_distance <= 0 or ratio < 0:
        raise InputError(f"kernel {kernel:g}, max_distance {max_distance:g}, ratio {ratio:g}; give positive ones")
    features = colours(image) * (100 * ratio)
    h, w, _ = features.shape
    reach = int(np.ceil(3 * kernel))
    density = numpy_generator(seed, "quickshift").normal(scale=1e-5, size=(h, w))
    offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1) if abs(i) < h and abs(j) < w]
    for i, j in offsets:
        here, there = _overlap(h, w, i, j)
        density[here] += np.exp(-_distance(features, here, there, i, j) / (2 * kernel**2))
    nearest = np.full((h, w), np.inf)
    parent = np.arange(h * w).reshape(h, w)
    number = parent.copy()
    for i, j in offsets:
        here, there = _overlap(h, w, i, j)
        distance = _distance(features, here, there, i, j)
        closer = (density[there] > density[here]) & (distance < nearest[here])
        nearest[here][closer] = distance[closer]
        parent[here][closer] = number[there][closer]
    root = np.where(nearest <= max_distance**2, parent, number).ravel()
    while (root[root] != root).any():
        root = root[root]
    return np.asarray(root.reshape(h, w))


def _overlap(h: int, w: int, i: int, j: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a pixel and its neighbour at (i, j) are both inside: their two windows."""
    rows = slice(max(-i, 0), min(h - i, h)), slice(max(i, 0), min(h + i, h))
    columns = slice(max(-j, 0), min(w - j, w)), slice(max(j, 0), min(w + j, w))
    return (rows[0], columns[0]), (rows[1], columns[1])


def _distance(
    features: np.ndarray, here: tuple[slice, slice], there: tuple[slice, slice], i: int, j: int
) -> np.ndarray:
    found: np.ndarray = ((features[here] - features[there]) ** 2).sum(-1) + i * i + j * j
    return found


def grid(image: np.ndarray, segments: float) -> np.ndarray:
    """Labels of a grid of nearly square cells, as near to `segments` in number as rows and columns allow."""
    h, w = image.shape[:2]
    _require_count(segments, h * w)
    rows, columns = _grid_shape(h, w, segments)
    return ((np.arange(h) * rows // h)[:, None] * columns + (np.arange(w) * columns // w)[None]).astype(np.int32)


def random_cells(image: np.ndarray, segments: int, seed: int = 0) -> np.ndarray:
    """Labels of the cells nearest to random points: regions that know nothing of the image."""
    h, w = image.shape[:2]
    _require_count(segments, h * w)
    centres = numpy_generator(seed, "random cells").permutation(h * w)[: int(segments)]
    pixels = np.moveaxis(np.mgrid[:h, :w], 0, -1).reshape(-1, 2)
    nearest = spatial.cKDTree(pixels[centres]).query(pixels)[1]
    return connected(nearest.reshape(h, w), 0)


SEGMENTERS: dict[str, Segmenter] = {
    "slic": lambda image, scale: slic(image, image.shape[0] * image.shape[1] / scale**2),
    "quickshift": lambda image, scale: quickshift(image, kernel=scale / 3, max_distance=2 * scale),
    "grid": lambda image, scale: grid(image, image.shape[0] * image.shape[1] / scale**2),
}
"""Segmenters by the side of a region in pixels, about."""


def match_count(segmenter: Segmenter, image: np.ndarray, segments: int, tolerance: float = 0.1) -> np.ndarray:
    """Labels of about as many regions as asked for, found by halving the range of the segmenter's scale.

    tolerance: share by which the number may be off. Raises InputError where no scale comes as near.
    """
    h, w = image.shape[:2]
    _require_count(segments, h * w)
    low, high = np.log(1.5), np.log(max(h, w) / 2)
    best: np.ndarray | None = None
    off = np.inf
    for _ in range(SEARCH):
        middle = (low + high) / 2
        labels = segmenter(image, float(np.exp(middle)))
        count = int(labels.max()) + 1
        if abs(count - segments) < off:
            best, off = labels, abs(count - segments)
        if off <= 0.25 * tolerance * segments:
            break
        low, high = (middle, high) if count > segments else (low, middle)
    if best is None or off > tolerance * segments:
        nearest = 0 if best is None else int(best.max()) + 1
        raise InputError(
            f"segments: {segments} regions were asked for and {nearest} come nearest; ask for another number"
        )
    return best
