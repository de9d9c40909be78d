"""Why a prototype looks like a patch: how much of their similarity is due to hue, contrast, shape, texture and others.

Nauta, Jutte, Provoost and Seifert, "This Looks Like That, Because ... Explaining Prototypes for Interpretable Image
Recognition", XKDD workshop at ECML PKDD 2020. An image is edited in one characteristic; what the similarity at the
original's best position loses is the importance of that characteristic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from winnow.curate.visual_edits import EDITS, edit, grey
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.statistics import equivalence

BATCH = 64
COLOUR = ("hue", "saturation")
"""Edits that do nothing to a grey image."""


class Prototypes(Protocol):
    """What is asked of a model with prototypes."""

    def class_of(self) -> Tensor:
        """The class of each prototype: int64[J]."""

    def maps(self, x: Tensor) -> Tensor:
        """Similarities of all prototypes to all places of standardised images: [n, J, h, w]."""


class Local(NamedTuple):
    """similarity float32[n, J] at the best place; drop float32[n, J, m] at that place, NaN where an edit cannot act;
    position int64[n, J], row-major in the map. edits: m names.
    """

    similarity: np.ndarray
    drop: np.ndarray
    position: np.ndarray
    edits: tuple[str, ...]


@torch.no_grad()
def local_importance(
    model: Prototypes,
    images: Tensor,
    edits: Sequence[str] = tuple(EDITS),
    *,
    prepare: Callable[[Tensor], Tensor] = lambda x: x,
    strengths: Mapping[str, float] | None = None,
    edited: Mapping[str, Tensor] | None = None,
) -> Local:
    """What each edit takes from the similarity of each prototype to each image: phi_local = g - g of the edited image.

    images: float32[n, 3, h, w] in [0, 1]. prepare: what standardises them for the model, after editing. The place is
    that of the largest similarity in the original, the first of equals, and it is not searched again. strengths: over
    the usual ones. edited: images already edited, by name, where several models are asked. Raises InputError as `edit`,
    and for maps that are not [n, J, h, w].
    """
    chosen, found, ready = dict(strengths or {}), [], dict(edited or {})
    for first in range(0, len(images), BATCH):
        x = images[first : first + BATCH]
        maps = model.maps(prepare(x))
        if maps.ndim != 4 or maps.shape[:2] != (len(x), len(model.class_of())):
            raise InputError(f"maps have shape {tuple(maps.shape)}; they must be [images, prototypes, height, width]")
        similarity, place = maps.flatten(2).max(dim=2)
        drops = []
        for kind in edits:
            changed = ready[kind][first : first + BATCH] if kind in ready else edit(x, kind, chosen.get(kind))
            again = model.maps(prepare(changed)).flatten(2)
            drop = similarity - again.gather(2, place[..., None])[..., 0]
            if kind in COLOUR:
                drop[grey(x)] = torch.nan
            drops.append(drop)
        found.append((similarity, torch.stack(drops, dim=2), place))
    similarities, all_drops, places = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return Local(similarities, all_drops, places, tuple(edits))


def _weights(local: Local, labels: np.ndarray | None, classes: Sequence[int] | None) -> np.ndarray:
    weights = np.repeat(local.similarity.astype(float)[:, :, None], local.drop.shape[2], axis=2)
    if labels is not None and classes is not None:
        weights *= (labels[:, None] == np.asarray(classes)[None])[:, :, None]
    return np.where(np.isnan(local.drop), 0.0, weights)


def global_importance(
    local: Local,
    labels: np.ndarray | None = None,
    classes: Sequence[int] | None = None,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity-weighted mean of the drops over images, and its bootstrap standard error: float64[J, m] each.

    phi_global(j, m) = sum_k g_jk phi_local(j, k, m) / sum_k g_jk, over all images; over those of each prototype's own
    class alone where labels int[n] and the prototypes' classes are given. NaN where the similarities sum to 0.
    """
    weights = _weights(local, labels, classes)
    drop = np.nan_to_num(local.drop.astype(float))

    def mean(counts: np.ndarray) -> np.ndarray:
        total = np.einsum("rn,njm->rjm", counts, weights)
        weighted = np.einsum("rn,njm->rjm", counts, weights * drop)
        return np.divide(weighted, total, out=np.full_like(total, np.nan), where=total != 0)

    n = len(drop)
    drawn = numpy_generator(seed, "prototype reasons").multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    return mean(np.ones((1, n)))[0], mean(drawn).std(axis=0)


def standardised(importance: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Importances by edit over the reference's mean absolute importance of that edit: edits differ in strength."""
    scale = np.nanmean(np.abs(reference), axis=0)
    return np.divide(importance, scale, out=np.full_like(importance, np.nan), where=scale > 0)


class Agreement(NamedTuple):
    """How far the global importances of two sets of images agree, for one edit, over prototypes."""

    edit: str
    correlation: float
    """Pearson's."""
    gap: float
    """Mean absolute difference, in standard deviations over prototypes."""
    equivalence_p: float
    """Of two one-sided tests that the mean difference lies inside a tenth of a standard deviation."""
    welch_p: float
    """Of Welch's test that the means differ; not rejecting is no agreement."""


def agreement(a: np.ndarray, b: np.ndarray, edits: Sequence[str], bound: float = 0.1) -> list[Agreement]:
    """Agreement of importances float[J, m] of the same prototypes on two sets of images, for each edit.

    bound: of equivalence, in standard deviations of `a` over prototypes. Prototypes with a NaN are left out. Raises
    InputError for fewer than 3 prototypes.
    """
    found = []
    for m, name in enumerate(edits):
        x, y = (values[np.isfinite(a[:, m]) & np.isfinite(b[:, m]), m] for values in (a, b))
        if len(x) < 3:
            raise InputError(f"edit {name!r}: {len(x)} prototypes have an importance; agreement needs 3")
        spread = float(x.std(ddof=1))
        if spread == 0 or y.std() == 0:
            found.append(Agreement(name, float("nan"), float("nan"), float("nan"), float("nan")))
            continue
        p = equivalence(x - y, -bound * spread, bound * spread).p_value
        correlation, gap = float(np.corrcoef(x, y)[0, 1]), float(np.abs(x - y).mean() / spread)
        found.append(Agreement(name, correlation, gap, p, float(stats.ttest_ind(x, y, equal_var=False).pvalue)))
    return found


def percentiles(importance: np.ndarray) -> np.ndarray:
    """Share of prototypes, in percent, whose importance of an edit is at most that of each: float[J, m]."""
    below = (importance[None] <= importance[:, None]).sum(axis=1)
    return 100.0 * below / np.isfinite(importance).sum(axis=0)


def describe(importance: np.ndarray, reference: np.ndarray, edits: Sequence[str]) -> str:
    """One sentence on what a prototype's similarity is due to.

    importance: float[m] of one prototype. reference: float[J, m] of all. Mostly: the largest, standardised, above the
    average prototype's; hardly matters: below a fifth of the average.
    """
    scores = standardised(importance[None], reference)[0]
    known = [i for i in np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable") if np.isfinite(scores[i])]
    if not known or scores[known[0]] <= 0.2:
        return "none of the edits matters"
    strong = [edits[i] for i in known if scores[i] >= 1] or [edits[known[0]]]
    weak = [edits[i] for i in known if abs(scores[i]) < 0.2]
    against = [edits[i] for i in known if scores[i] <= -0.2]
    parts = [f"mostly {_listed(strong)}"]
    if weak:
        parts.append(f"{_listed(weak)} hardly {'matters' if len(weak) == 1 else 'matter'}")
    if against:
        parts.append(f"more alike without {_listed(against)}")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def top_edits(importance: np.ndarray, reference: np.ndarray, edits: Sequence[str]) -> list[str | None]:
    """The edit of largest standardised importance of each prototype; None where all are NaN."""
    scores = standardised(importance, reference)
    return [None if np.isnan(row).all() else edits[int(np.nanargmax(row))] for row in scores]


def misleading(
    importance: np.ndarray, reference: np.ndarray, edits: Sequence[str], dominant: Sequence[str | None]
) -> np.ndarray:
    """bool[J]: prototypes whose most important edit is not what meets the eye in their patch.

    dominant: the characteristic that stands out in each prototype's patch, one of the edits; None where none does, and
    nothing is flagged. Raises InputError for another name.
    """
    unknown = [name for name in dominant if name is not None and name not in edits]
    if unknown:
        raise InputError(f"dominant characteristic {unknown[0]!r} is none of {', '.join(edits)}")
    top = top_edits(importance, reference, edits)
    return np.array([None not in (found, seen) and found != seen for found, seen in zip(top, dominant, strict=True)])


def redundant(
    vectors: np.ndarray,
    importance: np.ndarray,
    classes: Sequence[int],
    parts: Sequence[str | None],
    least: float = 0.95,
) -> list[tuple[int, int, float]]:
    """Pairs of prototypes that say the same: (i, j, cosine of their importances), i < j.

    vectors: float[J, D], the prototypes in feature space. parts: the part that each one's patch lies on, None for no
    part. A pair is of one class and one part, each is the other's nearest of its class, and the cosine exceeds `least`.
    """
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    distance[np.asarray(classes)[:, None] != np.asarray(classes)[None]] = np.inf
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(axis=1)
    values = np.nan_to_num(importance)
    found = []
    for i, j in enumerate(nearest.tolist()):
        if i < j and nearest[j] == i and np.isfinite(distance[i, j]) and parts[i] is not None and parts[i] == parts[j]:
            length = np.linalg.norm(values[i]) * np.linalg.norm(values[j])
            alike = float(values[i] @ values[j] / length) if length else 0.0
            if alike > least:
                found.append((i, j, alike))
    return found


def faithfulness(importance: np.ndarray, drops: Sequence[float]) -> float:
    """Spearman correlation over edits of the mean importance of prototypes with the drop in accuracy.

    importance: float[J, m]. drops: of accuracy, in shares, one for each edit. NaN where one of them is constant.
    """
    mean = np.nanmean(importance, axis=0)
    if np.ptp(mean) == 0 or np.ptp(drops) == 0:
        return float("nan")
    return float(stats.spearmanr(mean, drops).statistic)
