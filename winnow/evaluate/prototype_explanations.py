"""What is told of each prototype: its patch, its characteristics in order, a sentence, flags, and the patch edited.

Nauta, Jutte, Provoost and Seifert, "This Looks Like That, Because ... Explaining Prototypes for Interpretable Image
Recognition", XKDD workshop at ECML PKDD 2020. What meets the eye is taken from the pixels alone, so that a prototype
whose reason is another can be flagged without a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.prototype_reasons import (
    Local,
    describe,
    misleading,
    percentiles,
    redundant,
    standardised,
    top_edits,
)
from winnow.workloads.annotations import PartPoints
from winnow.workloads.image_tables import encode_png

ORIGINAL = "patch"
"""Name of the unedited patch among its edits."""


class Patches(NamedTuple):
    """The training patch of each of J prototypes: row int[J] of its image, box int[J, 4] (left, top, right, bottom in
    pixels, the last two outside), distance float[J] to the prototype.
    """

    row: np.ndarray
    box: np.ndarray
    distance: np.ndarray


class Importances(NamedTuple):
    """Of J prototypes and m edits: value and standard error float[J, m] over images; in_patch float[J, m], the drop in
    the image that the patch is from; sight float[J, m], how far the edit moves the patch's pixels (`sight`).
    """

    value: np.ndarray
    error: np.ndarray
    in_patch: np.ndarray
    sight: np.ndarray


def patches_of(table: pa.Table) -> Patches:
    """From the columns row, box and distance of `prototype_table`. Raises InputError for a box without a pixel."""
    box = np.array(table["box"].to_pylist(), int).reshape(-1, 4)
    empty = np.flatnonzero((box[:, 2] <= box[:, 0]) | (box[:, 3] <= box[:, 1]))
    if len(empty):
        raise InputError(
            f"prototype {empty[0]}: its box {box[empty[0]].tolist()} holds no pixel; train the model again"
        )
    return Patches(table["row"].to_numpy(), box, table["distance"].to_numpy())


def _cut(images: Tensor, patches: Patches, j: int) -> Tensor:
    left, top, right, bottom = patches.box[j]
    return images[patches.row[j], :, top:bottom, left:right]


def sight(images: Tensor, edited: Mapping[str, Tensor], patches: Patches) -> np.ndarray:
    """How much of each characteristic meets the eye in a patch: float64[J, m].

    Root mean square change of the patch's pixels by each edit. images, edited: float32[n, 3, h, w] in [0, 1].
    """
    changes = [
        [
            float((_cut(changed, patches, j) - _cut(images, patches, j)).square().mean().sqrt())
            for changed in edited.values()
        ]
        for j in range(len(patches.row))
    ]
    return np.array(changes)


def importances_in_patch(local: Local, patches: Patches) -> np.ndarray:
    """What each edit takes from a prototype's similarity in the image that its patch is from: float[J, m]."""
    found: np.ndarray = local.drop[patches.row, np.arange(len(patches.row))]
    return found


def parts_of(points: PartPoints, patches: Patches) -> list[str | None]:
    """The visible part whose point lies in each patch, nearest to its middle; None where there is none."""
    found: list[str | None] = []
    for row, (left, top, right, bottom) in zip(patches.row, patches.box, strict=True):
        x, y = points.xy[row].T
        with np.errstate(invalid="ignore"):  # the point of an unknown part is NaN
            inside = points.visible[row] & (x >= left) & (x < right) & (y >= top) & (y < bottom)
        away = np.hypot(x - (left + right - 1) / 2, y - (top + bottom - 1) / 2)
        found.append(points.names[int(np.where(inside, away, np.inf).argmin())] if inside.any() else None)
    return found


def explanations(
    found: Importances,
    edits: Sequence[str],
    patches: Patches,
    classes: Sequence[int],
    vectors: np.ndarray,
    parts: Sequence[str | None],
) -> list[dict[str, Any]]:
    """What is told of each prototype, an entry each, ready for JSON (null for NaN).

    Keys: prototype; class, its number; sentence; patch (row, box, part); characteristics, by standardised importance,
    the largest first: edit, value, error, standardised, percentile, in_patch; flags: misleading_sight and
    misleading_patch, whether the most important edit is another than stands out to the eye, or counts most in the patch
    itself, with eye and in_patch, which these are; redundant_with, prototypes that say the same.
    vectors: float[J, D], the prototypes in feature space.
    """
    scores, ranks = standardised(found.value, found.value), percentiles(found.value)
    eye, within = top_edits(found.sight, found.sight, edits), top_edits(found.in_patch, found.in_patch, edits)
    by_eye, by_patch = (misleading(found.value, found.value, edits, seen) for seen in (eye, within))
    pairs = redundant(vectors, found.value, classes, parts)
    told = []
    for j, label in enumerate(classes):
        order = np.argsort(-np.nan_to_num(scores[j], nan=-np.inf), kind="stable")
        flags: dict[str, Any] = {"misleading_sight": bool(by_eye[j]), "eye": eye[j]}
        flags |= {"misleading_patch": bool(by_patch[j]), "in_patch": within[j]}
        flags["redundant_with"] = sorted({i for pair in pairs if j in pair[:2] for i in pair[:2]} - {j})
        values = {"value": found.value[j], "error": found.error[j], "standardised": scores[j]}
        values |= {"percentile": ranks[j], "in_patch": found.in_patch[j]}
        ranked = [
            {"edit": edits[m]} | {name: float(v[m]) if np.isfinite(v[m]) else None for name, v in values.items()}
            for m in order
        ]
        told.append(
            {"prototype": j, "class": int(label), "sentence": describe(found.value[j], found.value, edits)}
            | {"patch": {"row": int(patches.row[j]), "box": patches.box[j].tolist(), "part": parts[j]}}
            | {"characteristics": ranked, "flags": flags}
        )
    return told


def flag_shares(told: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Shares of prototypes that are flagged: misleading_sight, misleading_patch, redundant."""
    flags = [entry["flags"] for entry in told]
    shares = {name: float(np.mean([f[name] for f in flags])) for name in ("misleading_sight", "misleading_patch")}
    return shares | {"redundant": float(np.mean([bool(f["redundant_with"]) for f in flags]))}


def cards(images: Tensor, edited: Mapping[str, Tensor], patches: Patches) -> list[dict[str, Any]]:
    """The patch of each prototype and its edits, a row each.

    Keys: prototype, edit (`patch` for the original), distance of the patch to the prototype, png.
    """
    return [
        {"prototype": j, "edit": kind, "distance": float(patches.distance[j]), "png": encode_png(pixels)}
        for j in range(len(patches.row))
        for kind, source in {ORIGINAL: images, **edited}.items()
        for pixels in [(_cut(source, patches, j).movedim(0, -1) * 255).round().byte().numpy()]
    ]


def rows_of(told: Sequence[Mapping[str, Any]], test: np.ndarray, edits: Sequence[str]) -> list[dict[str, Any]]:
    """The characteristics of each prototype as rows, in the order of `edits`, beside those on test: float[J, m].

    Keys: prototype, class, sentence, edit, train, test, error, percentile, standardised; null for NaN.
    """
    rows = []
    for entry in told:
        known = {name: entry[name] for name in ("prototype", "class", "sentence")}
        ranked = {characteristic["edit"]: characteristic for characteristic in entry["characteristics"]}
        for m, kind in enumerate(edits):
            value = float(test[entry["prototype"], m])
            rows.append(
                known
                | {"edit": kind, "train": ranked[kind]["value"], "test": value if np.isfinite(value) else None}
                | {name: ranked[kind][name] for name in ("error", "percentile", "standardised")}
            )
    return rows
