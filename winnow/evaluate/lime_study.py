"""LIME on images measured: where it points, what deletion does, how stable it is, and what a pick covers.

Natarajan and Nambiar, "Underwater SONAR Image Classification and Analysis using LIME-based Explainable Artificial
Intelligence", arXiv 2408.12837, 2024, with objects and shadows known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import nn

from winnow.errors import InputError
from winnow.evaluate.connected_regions import calm
from winnow.evaluate.lime_images import (
    Predict,
    RegionExplanation,
    deletion_drops,
    explain,
    localisation,
    stability,
)
from winnow.evaluate.segments import SEGMENTERS, match_count, random_cells
from winnow.evaluate.submodular_pick import (
    coverage_of,
    describe_regions,
    submodular_pick,
    visual_words,
    word_weights,
)
from winnow.randomness import numpy_generator
from winnow.statistics import wilcoxon

MATCHED = 0.12
"""Share by which the number of regions may differ from the one asked for."""
MASK_SEEDS = 3
"""Draws of masks that stability compares."""
RANDOM_PICKS = 100
SMALL_POOL, SMALL_BUDGET = 12, 3
"""A pool of which every pick can be tried."""

Found = tuple[np.ndarray, RegionExplanation]
"""Labels of an image, and its explanation."""


def predictor(model: nn.Module) -> Predict:
    """Probabilities of a model of images [n, c, h, w], as a function of arrays [n, h, w] or [n, h, w, c]."""

    def predict(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(images)
        x = x[:, None] if x.ndim == 3 else x.movedim(-1, 1)
        with torch.no_grad():
            return np.asarray(model(x).double().softmax(1).numpy())

    return predict


def spread_over_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions, in order, of `count` images: the first of each class, then the second of each, until there are enough.

    labels: of each image, [n]. All n where fewer are there. A rare class is thus seen as soon as it has an image.
    """
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        rank[of_class] = np.arange(len(of_class))
    return np.sort(np.argsort(rank, kind="stable")[:count])


def regions_of(name: str, image: np.ndarray, segments: int, seed: int) -> np.ndarray:
    """Labels of about as many regions as asked for; of random cells where the segmenter is "random"."""
    if name == "random":
        return random_cells(image, segments, seed)
    return match_count(SEGMENTERS[name], calm(image), segments, MATCHED)


def explain_images(
    predict: Predict,
    images: np.ndarray,
    segmenter: str,
    segments: int,
    samples: int,
    seed: int,
    target: int | None = None,
) -> list[Found | None]:
    """Labels and explanation of each image; None where no number of regions comes near the one asked for.

    target: the class that is explained, by default each image's own. Raises InputError where that holds for all images.
    """
    found: list[Found | None] = []
    for i, image in enumerate(images):
        try:
            labels = regions_of(segmenter, image, segments, seed + i)
        except InputError:
            found.append(None)
            continue
        found.append((labels, explain(predict, image, labels, target, samples=samples, seed=seed + i)))
    if not any(found):
        raise InputError(f"{segmenter}: no image can be cut into about {segments} regions; ask for another number")
    return found


def measure(
    predict: Predict,
    images: np.ndarray,
    truth: np.ndarray,
    found: Sequence[Found | None],
    top: int,
    samples: int,
    stable: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One row for each explained image: localisation, drops by deletion, fit, and of the first ones stability.

    truth: bool[n, 2, h, w], object and shadow.
    """
    rows = []
    for i, one in enumerate(found):
        if one is None:
            continue
        labels, explanation = one
        row: dict[str, Any] = {"image": i, "regions": int(labels.max()) + 1}
        row |= localisation(labels, explanation.weight, truth[i].any(axis=0), top)
        row["shadow_share"] = localisation(labels, explanation.weight, truth[i, 1], top)["share"]
        row["drop"], row["random_drop"] = deletion_drops(predict, images[i], labels, explanation, top, seed=seed + i)
        row |= {"r2": explanation.r2, "effective_samples": explanation.effective_samples}
        row["stability"] = None
        if i < stable:
            again = [
                explain(predict, images[i], labels, explanation.target, samples=samples, seed=1000 + number)
                for number in range(MASK_SEEDS)
            ]
            row["stability"] = stability(again, top)
        rows.append(row)
    return rows


def overlay_maps(
    kind: str,
    found: Sequence[Found | None],
    classes: Sequence[str],
    pixels: np.ndarray,
    truth: np.ndarray,
    numbers: np.ndarray,
) -> dict[str, np.ndarray]:
    """The first explained image of each class, as it is drawn with its regions and what is there.

    classes: of each image. pixels: uint8[n, h, w, c]. truth: bool[n, c', h, w]. numbers: int64[n], by which tables name
    images. Keys images, truth uint8[k, h, w], numbers, and the kind of regions, int32[k, h, w] labels.
    """
    first: dict[str, int] = {}
    for i, one in enumerate(found):
        if one is not None:
            first.setdefault(classes[i], i)
    rows = list(first.values())
    regions = np.stack([one[0] for i in rows if (one := found[i])]).astype(np.int32)
    seen = np.asarray(truth[rows].any(axis=1), np.uint8)
    return {"images": pixels[rows], "truth": seen, "numbers": numbers[rows], kind: regions}


def summary(rows: Sequence[dict[str, Any]], classes: Sequence[str], ratio: float) -> dict[str, float]:
    """Means of what `measure` found, over the images that have it; and what the paper's claims ask beside them.

    rows: of `measure`, each with `class`, the name of its image's class. shadow_share_<class>: of the classes named.
    precision_p: one-sided signed-rank test, over images, of precision against `ratio` times random precision.
    drop_gain: fall by deletion less that at random.
    """
    names = [name for name in rows[0] if name not in ("image", "class")]
    found = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    values = {name: float(np.mean(own)) for name, own in found.items() if own}
    for label in classes:
        own = [row["shadow_share"] for row in rows if row["class"] == label]
        if own:
            values[f"shadow_share_{label}"] = float(np.mean(own))
    values["drop_gain"] = values["drop"] - values["random_drop"]
    over = np.array([row["precision"] - ratio * row["random_precision"] for row in rows])
    values["precision_p"] = wilcoxon(over, alternative="greater").p_value
    return values


def picks(images: np.ndarray, found: Sequence[Found | None], budget: int, words: int, seed: int) -> dict[str, Any]:
    """Coverage of the submodular pick, of random picks, and of the best pick where all can be tried.

    coverage, random: lists over the budget, the latter means of RANDOM_PICKS draws. high: their 95th percentile at the
    whole budget. of_best: greedy over best coverage of a small pool. chosen: indices of images.
    """
    explained = [(i, *one) for i, one in enumerate(found) if one is not None]
    descriptors = np.concatenate([describe_regions(images[i], labels) for i, labels, _ in explained])
    # Only what speaks for the class counts: weights near 0 are everywhere.
    weights = [np.clip(e.weight, 0, None) * (e.weight >= np.sort(e.weight)[-5:].min()) for _, _, e in explained]
    table = word_weights(weights, visual_words(descriptors, words, seed))
    budget = min(budget, len(table))
    chosen, coverage = submodular_pick(table, budget)
    rng = numpy_generator(seed, "random picks")
    drawn = np.array(
        [
            [coverage_of(table, order[: k + 1].tolist()) for k in range(budget)]
            for order in (rng.permutation(len(table)) for _ in range(RANDOM_PICKS))
        ]
    )
    small = table[:SMALL_POOL]
    size = min(SMALL_BUDGET, len(small))
    best = max(coverage_of(small, some) for some in combinations(range(len(small)), size))
    return {
        "chosen": [explained[i][0] for i in chosen],
        "coverage": coverage.tolist(),
        "random": drawn.mean(axis=0).tolist(),
        "high": float(np.quantile(drawn[:, -1], 0.95)),
        "of_best": float(submodular_pick(small, size)[1][-1] / best) if best > 0 else 1.0,
    }
