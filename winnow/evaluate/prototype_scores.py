"""Do prototypes fire on the same part in every image, and stay there under noise? Consistency and stability.

Huang, Xue, Huang, Zhang, Song, Jing and Song, "Evaluation and Improvement of Interpretability for Self-Explainable
Part-Prototype Networks", ICCV 2023. Intervals and the choice of images with a hit are additions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import InputError
from winnow.randomness import numpy_generator

RESAMPLES = 999
BATCH = 1024  # maps


class Score(NamedTuple):
    """A score in percent with its 95 % interval, and what it is made of."""

    value: float
    per_prototype: np.ndarray
    """float64[J]: largest mean over parts, or share of images (stability); NaN where no image is of its class."""
    part: np.ndarray
    """int64[J]: the part of that largest mean, -1 where none is hit."""
    low: float
    high: float


def peaks(maps: Tensor, size: tuple[int, int], wanted: np.ndarray | None = None) -> np.ndarray:
    """Where maps are largest once they are as large as the image: int64[n, J, 2], row and column.

    maps: float[n, J, h, w], brought to `size` by bicubic interpolation. Of equal values the first in row-major order
    counts. A constant map has no peak: -1, -1. wanted: bool[n, J]; the others are left at -1, -1 to save time.
    Raises InputError for values that are not finite.
    """
    if not torch.isfinite(maps).all():
        raise InputError("maps: a value is NaN or infinite; train the model again")
    chosen = np.ones(maps.shape[:2], bool) if wanted is None else wanted
    flat = np.full(chosen.shape, -1)
    found = []
    for batch in maps[torch.from_numpy(chosen)].float().split(BATCH):
        large = functional.interpolate(batch[:, None], size=size, mode="bicubic", align_corners=False).flatten(1)
        low, high = batch.flatten(1).aminmax(dim=1)
        found.append(torch.where(low == high, -1, large.argmax(1)))
    flat[chosen] = torch.cat(found).numpy() if found else -1
    return np.where(flat[..., None] < 0, -1, np.stack([flat // size[1], flat % size[1]], axis=2))


def hits_at(at: np.ndarray, xy: np.ndarray, visible: np.ndarray, half: int) -> np.ndarray:
    """Which parts lie in the window around each peak: bool[n, J, K].

    at: int[n, J, 2], row and column. xy: float[n, K, 2]. visible: bool[n, K]. The window reaches `half` pixels to each
    side, its border included; a part that is not visible is not hit, nor is anything by a map without a peak.
    """
    rows, columns = at[:, :, None, 0], at[:, :, None, 1]
    x, y = xy[:, None, :, 0], xy[:, None, :, 1]
    with np.errstate(invalid="ignore"):  # the point of an unknown part is NaN
        near = (np.abs(x - columns) <= half) & (np.abs(y - rows) <= half)
    return near & visible[:, None] & (rows >= 0)


def parts_hit(
    maps: Tensor, xy: np.ndarray, visible: np.ndarray, half: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which parts each prototype hits in each image, bool[n, J, K], and which count as visible, bool[n, K].

    maps: float[n, J, h, w]. xy: float[n, K, 2], x to the right and y down, in pixels of an image of `size` (height,
    width); a point outside the image counts as invisible. half: half the side of the window, in pixels.
    Raises InputError for a negative half or arrays that do not belong together.
    """
    if half < 0:
        raise InputError(f"half: is {half}; give a number of pixels, at least 0")
    if xy.shape != (len(maps), visible.shape[1], 2) or len(visible) != len(maps):
        raise InputError(f"parts: points {xy.shape} and visibility {visible.shape} do not belong to {len(maps)} maps")
    with np.errstate(invalid="ignore"):
        inside = (xy >= 0).all(2) & (xy[..., 0] <= size[1] - 1) & (xy[..., 1] <= size[0] - 1)
    seen = visible & inside
    return hits_at(peaks(maps, size), xy, seen, half), seen


def consistency(
    hits: np.ndarray,
    visible: np.ndarray,
    prototype_class: np.ndarray,
    labels: np.ndarray,
    threshold: float = 0.8,
    seed: int = 0,
) -> Score:
    """Percentage of prototypes that hit one and the same part in at least `threshold` of the images that show it.

    hits: bool[n, J, K], visible: bool[n, K], prototype_class: int[J], labels: int[n]. Only images of a prototype's
    class count; a prototype whose class has none is left out. The interval resamples images within classes, then
    prototypes. Raises InputError where no prototype is left.
    """

    own = labels[:, None] == prototype_class[None]  # [n, J]
    hit = (own[..., None] & hits).reshape(len(labels), -1).astype(float)
    shown = (own[..., None] & visible[:, None]).reshape(len(labels), -1).astype(float)

    def frequencies(counts: np.ndarray) -> np.ndarray:
        """[draws, J, K] for counts [draws, n]."""
        mean: np.ndarray = (counts @ hit) / np.maximum(1, counts @ shown)
        return mean.reshape(len(counts), *hits.shape[1:])

    means = frequencies(np.ones((1, len(labels))))[0]
    judged = np.isin(prototype_class, labels)
    if not judged.any():
        raise InputError("prototypes: none has an image of its class; give images of the classes they stand for")
    best = means.max(1)
    generator = numpy_generator(seed, "consistency")
    consistent = frequencies(_image_counts(labels, generator)).max(2)[:, judged] >= threshold
    low, high = _interval(consistent, generator)
    part = np.where(best > 0, means.argmax(1), -1)
    value = 100 * float((best[judged] >= threshold).mean())
    return Score(value, np.where(judged, best, np.nan), part, low, high)


def _image_counts(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How often each image is drawn when the images of every class are drawn with replacement: [draws, n]."""
    counts = np.zeros((RESAMPLES, len(labels)))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        counts[:, rows] = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
    return counts


def _interval(values: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """95 % interval, in percent, of the mean over prototypes drawn with replacement; values [draws, J]."""
    chosen = generator.integers(0, values.shape[1], values.shape)
    low, high = np.quantile(100 * np.take_along_axis(values, chosen, 1).mean(1), [0.025, 0.975])
    return float(low), float(high)


def stability(
    hits: np.ndarray,
    hits_perturbed: np.ndarray,
    prototype_class: np.ndarray,
    labels: np.ndarray,
    seed: int = 0,
    only_hits: bool = False,
) -> Score:
    """Percentage of images in which a prototype hits the same parts with noise as without, averaged over prototypes.

    hits, hits_perturbed: bool[n, J, K]. only_hits: leave out images in which it hits nothing without noise, where two
    misses would count as agreement. The rest is as for `consistency`.
    """
    same = (hits == hits_perturbed).all(2)
    own = labels[:, None] == prototype_class[None]
    if only_hits:
        own = own & hits.any(2)
    judged = own.any(0)
    if not judged.any():
        raise InputError("prototypes: none has an image to judge it by; give images of the classes they stand for")

    agreed = (own & same).astype(float)

    def shares(counts: np.ndarray) -> np.ndarray:
        """[draws, J] for counts [draws, n]."""
        mean: np.ndarray = (counts @ agreed) / np.maximum(1, counts @ own)
        return mean

    generator = numpy_generator(seed, "stability")
    low, high = _interval(shares(_image_counts(labels, generator))[:, judged], generator)
    found = shares(np.ones((1, len(labels))))[0]
    frequent = np.einsum("nj,njk->jk", own, hits)
    part = np.where(frequent.max(1) > 0, frequent.argmax(1), -1)
    per_prototype = np.where(judged, found, np.nan)
    return Score(100 * float(found[judged].mean()), per_prototype, part, low, high)


def moves(n: int, seed: int = 0) -> np.ndarray:
    """By how many pixels, x and y, the shift of `perturb` moves what is in each image: int64[n, 2]."""
    chosen = numpy_generator(seed, "perturb", "shift").integers(0, 4, n)
    return np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[chosen]


def perturb(x: Tensor, kind: str = "gauss", std: float = 0.2, clip: float = 0.25, seed: int = 0) -> Tensor:
    """Images under a small change, in the units that the model takes them in: float32 of the shape of x.

    kind: gauss adds N(0, std^2) clipped to [-clip, clip]; brightness adds one such number to each image; shift moves
    each image by a pixel in one of four directions, its border repeated. One seed is one perturbation set, whatever
    the model. Raises InputError for another kind.
    """
    generator = numpy_generator(seed, "perturb", kind)
    if kind == "gauss":
        noise = np.clip(generator.normal(0, std, tuple(x.shape)), -clip, clip)
        return x + torch.from_numpy(noise.astype(np.float32))
    if kind == "brightness":
        noise = np.clip(generator.normal(0, std, (len(x), 1, 1, 1)), -clip, clip)
        return x + torch.from_numpy(noise.astype(np.float32))
    if kind == "shift":
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        height, width = x.shape[2:]
        moved = [
            image[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
            for image, (right, down) in zip(padded, moves(len(x), seed).tolist(), strict=True)
        ]
        return torch.stack(moved)
    raise InputError(f"perturbation: {kind!r} is unknown; use gauss, brightness or shift")
