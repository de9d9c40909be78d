"""Which explanations to show: images that together cover what matters, greedily.

The submodular pick: Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016; its bound: Nemhauser, Wolsey and
Fisher, "An Analysis of Approximations for Maximizing Submodular Set Functions", Mathematical Programming, 1978. Regions
differ between images, so they are made comparable by visual words: Sivic and Zisserman, "Video Google", ICCV 2003.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2

from winnow.errors import InputError
from winnow.randomness import numpy_generator


def describe_regions(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64[regions, 6]: what can be compared between the regions of different images.

    Mean, standard deviation, elongation, area as a share, brightness against the region before it in range (columns to
    the left in the same rows), and whether it is a shadow: dark, even, and behind something brighter.
    """
    grey = image.reshape(*labels.shape, -1).mean(-1).astype(np.float64)
    low, high = grey.min(), grey.max()
    grey = (grey - low) / (high - low) if high > low else grey * 0
    flat, k = labels.ravel(), int(labels.max()) + 1
    size = np.bincount(flat, minlength=k)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(flat, values.ravel(), minlength=k) / size

    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    level, row, column = mean(grey), mean(y), mean(x)
    spread = np.sqrt(np.clip(mean(grey**2) - level**2, 0, None))
    yy, xx, xy = mean(y**2) - row**2, mean(x**2) - column**2, mean(x * y) - row * column
    root = np.sqrt(np.clip((yy - xx) ** 2 / 4 + xy**2, 0, None))
    longest, shortest = (yy + xx) / 2 + root, np.clip((yy + xx) / 2 - root, 0, None)
    elongation = 1 - np.sqrt((shortest + 1 / 12) / (longest + 1 / 12))  # a pixel is not a point
    before = np.zeros(k)
    for region in range(k):  # once per region, on its bounding rows
        rows = np.unique(y[labels == region])
        left = int(x[labels == region].min())
        before[region] = grey[rows, max(left - 4, 0) : left].mean() if left else level[region]
    contrast = level - before
    shadow = (level < np.quantile(level, 0.25)) & (spread <= np.median(spread)) & (contrast < 0)
    return np.stack([level, spread, elongation, size / labels.size, contrast, shadow], axis=1)


def visual_words(regions: np.ndarray, words: int = 20, seed: int = 0) -> np.ndarray:
    """int64[regions]: the cluster of every descriptor float[regions, d], by k-means on standardised columns.

    Fewer than `words` clusters come where fewer descriptors differ.
    """
    deviation = regions.std(axis=0)
    values = (regions - regions.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    words = min(words, len(np.unique(values, axis=0)))
    rng = numpy_generator(seed, "visual words")
    _, labels = kmeans2(values, words, minit="++", rng=rng, iter=30)
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def word_weights(weights: Sequence[np.ndarray], words: np.ndarray) -> np.ndarray:
    """float64[images, words]: absolute weights of each image's regions, summed over words.

    weights: one vector an image. words: word of every region, images one after another.
    """
    table = np.zeros((len(weights), int(words.max()) + 1))
    image = np.repeat(np.arange(len(weights)), [len(w) for w in weights])
    np.add.at(table, (image, words), np.abs(np.concatenate(weights)))
    return table


def submodular_pick(weights: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Images int64[budget], greedily chosen to cover important columns, and the coverage float64[budget] after each.

    weights: float[images, columns], absolute. A column's importance is the root of its sum; coverage is the sum of
    importances of columns where a chosen image has weight. Greedy is within 1 - 1/e of the best set. Of equal gains the
    first image is taken.
    """
    if not 1 <= budget <= len(weights):
        raise InputError(f"budget is {budget}; pick 1 to the {len(weights)} images there are")
    weights = np.abs(weights)
    importance = np.sqrt(weights.sum(axis=0))
    present = weights > 0
    covered = np.zeros(weights.shape[1], bool)
    chosen: list[int] = []
    coverage: list[float] = []
    for _ in range(budget):
        gain = (present & ~covered) @ importance
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        covered |= present[chosen[-1]]
        coverage.append(float(importance[covered].sum()))
    return np.array(chosen), np.array(coverage)


def coverage_of(weights: np.ndarray, chosen: Sequence[int]) -> float:
    """Coverage of a set of images; see `submodular_pick`."""
    weights = np.abs(weights)
    covered = (weights[list(chosen)] > 0).any(axis=0)
    return float(np.sqrt(weights.sum(axis=0))[covered].sum())
