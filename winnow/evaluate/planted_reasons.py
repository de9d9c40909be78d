"""Reasons of prototypes where the right reason is known: planted sets, confounded ones, and copied prototypes.

The truths that Nauta, Jutte, Provoost and Seifert ("This Looks Like That, Because ...", XKDD workshop at ECML PKDD
2020) judge by eye. In a planted set one factor of one part tells the class and nothing else does, so the edit of that
factor must be the one that prototypes of the part owe most to. In the confounded set that part is always red, which
meets the eye, and only its texture tells the class: a prototype of it that owes most to texture is misleading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.prototype_reasons import global_importance, local_importance, misleading, redundant, top_edits
from winnow.evaluate.prototype_scores import Score, consistency, hits_at, parts_hit, peaks
from winnow.randomness import torch_generator
from winnow.train.planted_prototypes import fit_small
from winnow.workloads.annotations import PartPoints
from winnow.workloads.part_pictures import picture
from winnow.workloads.part_scenes import classes_of, draw_scenes

SETS = ("hue", "texture", "shape", "contrast", "confounded")
"""Planted sets, each named as the edit that is right for it; in the confounded one that is texture."""


class PlantedSet(NamedTuple):
    """pixels uint8[n, side, side, 3]; labels int64[n]; xy float32[n, 1, 2] and visible bool[n, 1] of the part."""

    pixels: np.ndarray
    labels: Tensor
    xy: np.ndarray
    visible: np.ndarray
    classes: tuple[str, ...]

    def split(self, rows: slice) -> PlantedSet:
        """Some of the images."""
        return PlantedSet(self.pixels[rows], self.labels[rows], self.xy[rows], self.visible[rows], self.classes)


def draw_planted(planted: str | None, part: str, count: int, seed: int, side: int) -> PlantedSet:
    """The first `count` images of a planted set, or of the eight kinds, with where the part lies.

    A part that is absent is not visible. Raises InputError as `draw_scenes`.
    """
    scenes = draw_scenes(count, seed, planted=planted, part=part, name="reasons")
    drawn = [picture(scene, side) for scene in scenes]
    xy = np.array([found.points.get(part, (-1, -1)) for found in drawn], np.float32)
    inside = ((xy >= 0) & (xy <= side - 1)).all(axis=1)
    at = np.clip(xy, 0, side - 1).astype(int)
    nothing = np.zeros((side, side), bool)
    seen = np.array([found.seen.get(part, nothing)[y, x] for found, (x, y) in zip(drawn, at, strict=True)])
    labels = torch.tensor([scene.label for scene in scenes])
    pixels = np.stack([found.pixels for found in drawn])
    return PlantedSet(pixels, labels, xy[:, None], (inside & seen)[:, None], classes_of(planted))


def on_part(maps: Tensor, classes: np.ndarray, planted: PlantedSet, half: int, least: float = 0.5) -> np.ndarray:
    """bool[J]: prototypes whose peak lies within `half` pixels of the part, in the share `least` of their class.

    maps: float[n, J, h, w]. classes: int[J]. Only images in which the part is seen count; without any, False.
    """
    hits = hits_at(peaks(maps, planted.pixels.shape[1:3]), planted.xy, planted.visible, half)[..., 0]
    counted = (planted.labels.numpy()[:, None] == classes[None]) & planted.visible
    shown = counted.sum(axis=0)
    return (shown > 0) & ((hits & counted).sum(axis=0) >= least * np.maximum(shown, 1))


def named(
    importance: np.ndarray, reference: np.ndarray, edits: Sequence[str], chosen: np.ndarray, expected: str
) -> dict[str, float]:
    """How often the expected edit comes first among the prototypes chosen (bool[J]).

    importance: float[J, m]. reference: float[J', m], of a model trained on all factors: each edit is divided by its
    mean absolute importance there. Values: named (share), prototypes (chosen), named_p (one-sided binomial test
    against one edit in m). NaN for the share and the p-value where none is chosen.
    """
    if expected not in edits:
        raise InputError(f"expected edit {expected!r} is none of {', '.join(edits)}")
    top = np.array(top_edits(importance, reference, edits), object)[chosen]
    count, right = len(top), int((top == expected).sum())
    p = float(stats.binomtest(right, count, 1 / len(edits), alternative="greater").pvalue) if count else float("nan")
    return {"named": right / count if count else float("nan"), "prototypes": float(count), "named_p": p}


def flagged(
    importance: np.ndarray, reference: np.ndarray, edits: Sequence[str], chosen: np.ndarray, dominant: str
) -> float:
    """Share of the prototypes chosen that are flagged as misleading if `dominant` meets the eye; NaN for none."""
    flags = misleading(importance, reference, edits, [dominant] * len(importance))[chosen]
    return float(flags.mean()) if len(flags) else float("nan")


def copied_pairs(classes: np.ndarray, frequency: np.ndarray) -> list[tuple[int, int]]:
    """For each class its prototype that hits a part most often, and the one it is copied over: the least frequent.

    frequency: float[J], how often each hits its best part. A class of one prototype, or that hits no part, has no pair.
    """
    pairs = []
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        order = rows[np.argsort(-np.nan_to_num(frequency[rows]), kind="stable")]
        if len(order) > 1 and frequency[order[0]] > 0:
            pairs.append((int(order[0]), int(order[-1])))
    return pairs


def with_copies(model: Any, pairs: Sequence[tuple[int, int]], noise: float, seed: int) -> Any:
    """A network in which the second prototype of each pair is the first and a little noise, a share of its length."""
    changed = copy.deepcopy(model)
    generator = torch_generator(seed, "copied prototypes")
    with torch.no_grad():
        for source, target in pairs:
            vector = model.prototypes[source]
            drawn = torch.randn(len(vector), generator=generator)
            changed.prototypes[target] = vector + noise * vector.norm() * drawn / drawn.norm()
    return changed


def copies_found(
    vectors: np.ndarray,
    importance: np.ndarray,
    classes: np.ndarray,
    parts: Sequence[str | None],
    copies: Sequence[tuple[int, int]],
) -> dict[str, float]:
    """How many of the copied pairs `redundant` finds, and how many other pairs it names.

    copies: (source, target). Values: copies_found (share), copies, other_pairs.
    """
    pairs = {(i, j) for i, j, _ in redundant(vectors, importance, classes.tolist(), parts)}
    wanted = {(min(pair), max(pair)) for pair in copies}
    share = len(pairs & wanted) / len(wanted) if wanted else float("nan")
    return {"copies_found": share, "copies": float(len(wanted)), "other_pairs": float(len(pairs - wanted))}


class Reasons(NamedTuple):
    """Of the network of one set: held-out accuracy, importance float64[J, m], and bool[J], which are on the part."""

    accuracy: float
    importance: np.ndarray
    on_part: np.ndarray


def reasons_of(
    planted: str | None, part: str, *, side: int, scenes: int, judged: int, epochs: int, half: int, seed: int
) -> Reasons:
    """Draw a set (None for the eight kinds), train a network with prototypes on it, and say what these owe to.

    side, half: pixels. Trained on the first `scenes` images, importances are those on the first `judged` of them;
    accuracy is that on `judged` others.
    """
    drawn = draw_planted(planted, part, scenes + judged, seed, side)
    images = torch.from_numpy(drawn.pixels).movedim(3, 1).float() / 255
    mean, deviation = images[:scenes].mean((0, 2, 3), keepdim=True), images[:scenes].std((0, 2, 3), keepdim=True)

    def prepare(x: Tensor) -> Tensor:
        return (x - mean[0]) / deviation[0]

    model = fit_small(prepare(images[:scenes]), drawn.labels[:scenes], len(drawn.classes), epochs=epochs, seed=seed)
    with torch.no_grad():
        right = model(prepare(images[scenes:])).argmax(dim=1) == drawn.labels[scenes:]
        maps = model.maps(prepare(images[:judged]))
    local = local_importance(model, images[:judged], prepare=prepare)
    seen = on_part(maps, model.class_of().numpy(), drawn.split(slice(judged)), half)
    return Reasons(float(right.double().mean()), global_importance(local, seed=seed)[0], seen)


def reasons_of_copies(
    model: Any,
    images: Tensor,
    labels: Tensor,
    points: PartPoints,
    prepare: Callable[[Tensor], Tensor],
    *,
    half: int,
    judged: int,
    noise: float,
    seed: int,
) -> dict[str, float]:
    """Copy prototypes of a trained network over others, and look for the copies by their reasons: `copies_found`.

    images: float32[n, 3, h, w] in [0, 1], standardised by `prepare`; importances are those on the first `judged`.
    half: of the window in which a prototype hits a part, in pixels.
    """
    classes, size = model.class_of().numpy(), (images.shape[2], images.shape[3])

    def parts(network: Any) -> Score:
        with torch.no_grad():
            maps = torch.cat([network.maps(prepare(batch)) for batch in images.split(64)])
        hits = parts_hit(maps, points.xy, points.visible, half, size)
        return consistency(*hits, classes, labels.numpy())

    pairs = copied_pairs(classes, parts(model).per_prototype)
    copied = with_copies(model, pairs, noise, seed)
    names = [points.names[k] if k >= 0 else None for k in parts(copied).part]
    importance, _ = global_importance(local_importance(copied, images[:judged], prepare=prepare), seed=seed)
    return copies_found(copied.prototypes.detach().numpy(), importance, classes, names, pairs)
