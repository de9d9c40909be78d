"""What consistency is worth: nulls, the curve over window sizes, purity, entropy and diversity of prototypes.

A network that always fires in the middle of the image gets a high score for free where objects are centred, and so does
one whose window spans half the image. Purity: Nauta, Schlötterer, van Keulen and Seifert, "PIP-Net: Patch-Based
Intuitive Prototypes for Interpretable Image Classification", CVPR 2023.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from torch import Tensor

from winnow.evaluate.prototype_scores import hits_at, peaks
from winnow.randomness import numpy_generator

DRAWS = 20


def _score(hits: np.ndarray, visible: np.ndarray, own: np.ndarray, threshold: float) -> float:
    hit = np.einsum("nj,njk->jk", own, hits)
    shown = np.einsum("nj,nk->jk", own, visible)
    return 100 * float(((hit / np.maximum(1, shown)).max(1)[own.any(0)] >= threshold).mean())


def null_scores(
    at: np.ndarray,
    xy: np.ndarray,
    visible: np.ndarray,
    prototype_class: np.ndarray,
    labels: np.ndarray,
    half: int,
    threshold: float = 0.8,
    seed: int = 0,
) -> dict[str, float]:
    """Consistency [%] that comes without looking at parts, each the mean of 20 draws.

    permuted: which part is which is shuffled within each image, among the visible ones. location: every prototype's
    peaks are drawn from all peaks of its class. at: int[n, J, 2] of `peaks`; the rest as for `parts_hit`.
    """
    own = (labels[:, None] == prototype_class[None]).astype(float)
    generator = numpy_generator(seed, "prototype nulls")
    found: dict[str, list[float]] = {"permuted": [], "location": []}
    for _ in range(DRAWS):
        keys = np.where(visible, generator.random(visible.shape), np.inf)
        order = np.argsort(keys, axis=1, kind="stable")
        seat = np.argsort(~visible, axis=1, kind="stable")  # the visible parts first, in order
        shuffled = np.empty_like(xy)
        np.put_along_axis(shuffled, seat[..., None], np.take_along_axis(xy, order[..., None], 1), 1)
        found["permuted"].append(_score(hits_at(at, shuffled, visible, half), visible, own, threshold))
        drawn = at.copy()
        for label in np.unique(labels):
            rows, mine = np.flatnonzero(labels == label), np.flatnonzero(prototype_class == label)
            pool = at[np.ix_(rows, mine)].reshape(-1, 2)
            if len(pool):
                picks = generator.integers(0, len(pool), (len(rows), len(mine)))
                drawn[np.ix_(rows, mine)] = pool[picks]
        found["location"].append(_score(hits_at(drawn, xy, visible, half), visible, own, threshold))
    return {name: float(np.mean(values)) for name, values in found.items()}


def window_curve(
    at: np.ndarray,
    xy: np.ndarray,
    visible: np.ndarray,
    prototype_class: np.ndarray,
    labels: np.ndarray,
    halves: list[int],
    threshold: float = 0.8,
    seed: int = 0,
) -> pa.Table:
    """Consistency and its nulls [%] over half the window's side: table half, consistency, permuted, location."""
    own = (labels[:, None] == prototype_class[None]).astype(float)
    rows = []
    for half in halves:
        real = _score(hits_at(at, xy, visible, half), visible, own, threshold)
        nulls = null_scores(at, xy, visible, prototype_class, labels, half, threshold, seed)
        rows.append({"half": half, "consistency": real} | nulls)
    return pa.Table.from_pylist(rows)


def companions(
    scores: Tensor, maps: Tensor, hits: np.ndarray, prototype_class: np.ndarray, labels: np.ndarray, top: int = 10
) -> dict[str, float]:
    """What stands beside the two scores.

    purity: mean over prototypes of the largest share of one part among its `top` highest activations (all classes).
    entropy: mean entropy of the own class's maps as distributions over positions, of 1 for a flat map. on_parts:
    share of the own class's peaks that hit any part. distinct_parts: mean over classes of exp(entropy) of how often
    each part is hit, the effective number of parts that a class's prototypes cover.
    scores: float[n, J]; maps: float[n, J, h, w]; hits: bool[n, J, K].
    """
    own = np.asarray(labels)[:, None] == np.asarray(prototype_class)
    best = scores.sort(dim=0, descending=True, stable=True).indices[:top].numpy()
    shares = np.take_along_axis(hits, best[..., None], 0).mean(0).max(1)
    flat = maps.double().flatten(2).softmax(2)
    spread = -(flat * flat.clamp_min(1e-300).log()).sum(2) / np.log(max(2, flat.shape[2]))
    distinct = []
    for label in np.unique(labels):
        counts = hits[labels == label][:, prototype_class == label].sum((0, 1)).astype(float)
        if counts.sum():
            shown = counts[counts > 0] / counts.sum()
            distinct.append(float(np.exp(-(shown * np.log(shown)).sum())))
    return {
        "purity": float(shares.mean()),
        "entropy": float(spread.numpy()[own].mean()),
        "on_parts": float(np.asarray(hits.any(axis=2))[own].mean()),
        "distinct_parts": float(np.mean(distinct)) if distinct else 0.0,
    }


def centre_peaks(maps: Tensor, size: tuple[int, int], wanted: np.ndarray | None = None) -> np.ndarray:
    """The peaks of a network that always fires in the middle of the image: a control for centred objects.

    A constant map has no peak here either: -1, -1. wanted: as for `peaks`.
    """
    at = peaks(maps, size, wanted)
    return np.where(at < 0, -1, np.array(size) // 2)
