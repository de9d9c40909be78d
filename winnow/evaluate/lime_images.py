"""LIME on images, and how well it points at what is there.

LIME: Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016. Its use on sonar:
Natarajan and Nambiar, "Underwater SONAR Image Classification and Analysis using LIME-based Explainable Artificial
Intelligence", arXiv 2408.12837, 2024.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage

from winnow.attribution.least_squares import weighted_least_squares
from winnow.errors import InputError
from winnow.randomness import numpy_generator

log = logging.getLogger(__name__)

Predict = Callable[[np.ndarray], np.ndarray]
"""float32[n, h, w(, c)] -> probabilities float[n, classes]."""
Fill = Literal["mean", "zero", "image_mean", "blur"]
PIXELS_PER_CALL = 1 << 22
BLUR = 4.0
"""Standard deviation, in pixels, of the blur that may fill hidden regions."""
FORWARD = 6
"""Most features that are selected by adding one at a time; more are those of highest weight (the authors' "auto")."""


@dataclass(frozen=True)
class RegionExplanation:
    """A linear model of one class's probability over which regions of one image are visible."""

    weight: np.ndarray
    """float64[regions], what showing a region adds; 0 where it was not selected."""
    intercept: float
    r2: float
    """Share of the weighted variance that the model explains."""
    score: float
    """Probability of the explained class on the whole image."""
    target: int
    effective_samples: float


def fill_values(image: np.ndarray, labels: np.ndarray, fill: Fill) -> np.ndarray:
    """What an image shows where it is hidden, float32 of the image's shape.

    mean: the mean of each region. zero: 0. image_mean: the mean of the whole. blur: the image, blurred.
    """
    channels = image.reshape(*labels.shape, -1).astype(np.float64)
    if fill == "mean":
        size = np.bincount(labels.ravel())
        sums = [np.bincount(labels.ravel(), channels[..., c].ravel()) for c in range(channels.shape[2])]
        shown = (np.stack(sums, axis=1) / size[:, None])[labels]
    elif fill == "blur":
        shown = ndimage.gaussian_filter(channels, (BLUR, BLUR, 0))
    elif fill in ("zero", "image_mean"):
        shown = np.zeros_like(channels) + (channels.mean((0, 1)) if fill == "image_mean" else 0)
    else:
        raise InputError(f"fill is {fill!r}; use mean, zero, image_mean or blur")
    return np.asarray(shown.reshape(image.shape), np.float32)


def predictions(predict: Predict, image: np.ndarray, labels: np.ndarray, masks: np.ndarray, fill: Fill) -> np.ndarray:
    """float64[n, classes] of an image of which each mask float[n, regions] shows some regions, in large batches.

    Raises InputError where a prediction is not finite, or no distribution over classes.
    """
    hidden = fill_values(image, labels, fill)
    image = image.astype(np.float32)
    extra = [None] * (image.ndim - 2)
    found = []
    rows = max(1, PIXELS_PER_CALL // image.size)
    for first in range(0, len(masks), rows):
        shown = masks[first : first + rows][:, labels].astype(bool)[(..., *extra)]
        found.append(np.asarray(predict(np.where(shown, image, hidden)), np.float64))
    outputs = np.concatenate(found)
    if not np.isfinite(outputs).all():
        raise InputError("predict: a prediction is NaN or infinite; check the model on the image with hidden regions")
    if outputs.ndim != 2 or (np.abs(outputs.sum(1) - 1) > 1e-3).any() or outputs.min() < -1e-6:
        raise InputError(f"predict: shape {outputs.shape}, rows that are no distributions; give probabilities")
    return outputs


def explain(
    predict: Predict,
    image: np.ndarray,
    labels: np.ndarray,
    target: int | None = None,
    *,
    samples: int = 1000,
    width: float = 0.25,
    fill: Fill = "mean",
    features: int | None = None,
    ridge: float = 1.0,
    seed: int = 0,
) -> RegionExplanation:
    """Fit a weighted ridge regression of the target's probability on random masks of the regions.

    image: [h, w] or [h, w, c]. labels: int[h, w], 0 to k - 1. target: by default the class of the whole image. The
    first mask shows all. width: of the kernel exp(-D^2 / width^2) over cosine distance D from it. features: most
    regions with a weight, selected as the authors do; None is all. Warns where there are fewer effective samples than
    regions. Raises InputError for fewer than two regions, a constant image, and predictions that are none.
    """
    regions = int(labels.max()) + 1
    if labels.shape != image.shape[:2] or regions < 2:
        raise InputError(f"labels {labels.shape} with {regions} regions, image {image.shape}; cut it into 2 or more")
    if image.min() == image.max():
        raise InputError("image is constant: hiding a region changes nothing, so there is nothing to explain")
    masks = random_masks(samples, regions, seed)
    outputs = predictions(predict, image, labels, masks, fill)
    chosen = int(outputs[0].argmax()) if target is None else target
    weights = cosine_kernel(masks, width)
    return fit(masks, outputs[:, chosen], weights, chosen, features=features, ridge=ridge)


def random_masks(samples: int, regions: int, seed: int) -> np.ndarray:
    """float64[samples, regions] of zeros and ones, each equally likely; the first row is all ones."""
    masks = numpy_generator(seed, "lime masks").integers(0, 2, (samples, regions)).astype(np.float64)
    masks[:1] = 1
    return masks


def cosine_kernel(masks: np.ndarray, width: float) -> np.ndarray:
    """exp(-D^2 / width^2), D the cosine distance of each mask from the one that shows all; 1 from an empty one."""
    share = masks.mean(axis=1)
    distance = 1 - np.sqrt(share)  # |z| / sqrt(k |z|) for zeros and ones
    return np.asarray(np.exp(-((distance / width) ** 2)))


def fit(
    masks: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    target: int,
    *,
    features: int | None = None,
    ridge: float = 1.0,
) -> RegionExplanation:
    """The regression of LIME on given masks, values and weights of equal length."""
    used = selected(masks, values, weights, features)
    solution = weighted_least_squares(*_tensors(masks[:, used], values, weights), ridge=ridge)
    ess = float(solution.effective_samples)
    if ess < masks.shape[1]:
        log.warning("%.1f effective samples for %d regions; draw more or widen the kernel", ess, masks.shape[1])
    coefficients = np.zeros(masks.shape[1])
    coefficients[used] = solution.coefficients.numpy()
    spread = np.average((values - np.average(values, weights=weights)) ** 2, weights=weights)
    r2 = 1 - float(solution.loss) / spread if spread > 0 else 0.0
    return RegionExplanation(coefficients, float(solution.bias), r2, float(values[0]), target, ess)


def _tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(a, np.float64)) for a in arrays]


def selected(masks: np.ndarray, values: np.ndarray, weights: np.ndarray, features: int | None) -> np.ndarray:
    """Indices of the regions that the regression may use, in increasing order.

    Up to FORWARD of them are added one by one, each time the one of highest weighted R^2, without penalty; more are
    those of highest absolute weight in the regression on all.
    """
    regions = masks.shape[1]
    if features is None or features >= regions:
        return np.arange(regions)
    if features < 1:
        raise InputError(f"features is {features}; use 1 or more regions")
    if features > FORWARD:
        weight = weighted_least_squares(*_tensors(masks, values, weights), ridge=0.01).coefficients.numpy()
        return np.sort(np.argsort(-np.abs(weight), kind="stable")[:features])
    chosen: list[int] = []
    for _ in range(features):
        rest = [i for i in range(regions) if i not in chosen]
        # All candidates are one batch of problems.
        designs = np.stack([masks[:, [*chosen, i]] for i in rest])
        loss = weighted_least_squares(*_tensors(designs, values, weights), ridge=1e-9).loss.numpy()
        chosen.append(rest[int(loss.argmin())])
    return np.sort(np.array(chosen))


def localisation(labels: np.ndarray, weight: np.ndarray, truth: np.ndarray, top: int = 5) -> dict[str, float]:
    """How well the `top` regions of highest positive weight meet the truth bool[h, w].

    precision, recall: of their pixels. pointing: whether the first region lies mostly on the truth. share: of positive
    weight, by how much of each region is truth. random_precision: expected precision of as many random regions.
    """
    size = np.bincount(labels.ravel(), minlength=len(weight))
    true = np.bincount(labels.ravel(), truth.ravel(), minlength=len(weight))
    order = np.argsort(-weight, kind="stable")
    order = order[weight[order] > 0][:top]
    positive = np.clip(weight, 0, None)
    found = {
        "precision": float(true[order].sum() / size[order].sum()) if len(order) else 0.0,
        "recall": float(true[order].sum() / truth.sum()) if truth.any() else float("nan"),
        "pointing": float(len(order) > 0 and true[order[0]] * 2 > size[order[0]]),
        "share": float((positive * true / size).sum() / positive.sum()) if positive.any() else 0.0,
        "random_precision": float(truth.mean()),
    }
    return found


def deletion_drops(
    predict: Predict,
    image: np.ndarray,
    labels: np.ndarray,
    explanation: RegionExplanation,
    top: int = 5,
    *,
    fill: Fill = "mean",
    repeats: int = 20,
    seed: int = 0,
) -> tuple[float, float]:
    """By how much the probability falls without the `top` regions, and, on average, without as many random ones."""
    regions = len(explanation.weight)
    top = min(top, regions)
    masks = np.ones((1 + repeats, regions))
    masks[0, np.argsort(-explanation.weight, kind="stable")[:top]] = 0
    order = numpy_generator(seed, "deletion").permuted(np.tile(np.arange(regions), (repeats, 1)), axis=1)
    np.put_along_axis(masks[1:], order[:, :top], 0, axis=1)
    without = predictions(predict, image, labels, masks, fill)[:, explanation.target]
    return explanation.score - float(without[0]), explanation.score - float(without[1:].mean())


def stability(explanations: Sequence[RegionExplanation], top: int = 5) -> float:
    """Mean Jaccard index, over pairs of explanations of one image, of their regions of highest weight."""
    if len(explanations) < 2:
        raise InputError(f"{len(explanations)} explanation; stability compares two or more")
    tops = [set(np.argsort(-e.weight, kind="stable")[:top].tolist()) for e in explanations]
    pairs = [(a, b) for i, a in enumerate(tops) for b in tops[:i]]
    return float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))
