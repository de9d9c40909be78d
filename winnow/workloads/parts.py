"""The workload `parts`: rendered animals made of named parts, of which everything is known.

Every picture knows where each part is seen, and which concepts it shows where. Scenes: `winnow.workloads.part_scenes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.workloads.annotations import CONCEPTS, FACTORS, PARTS_SEEN
from winnow.workloads.image_tables import encode_png, raw_image_table
from winnow.workloads.part_pictures import PARTS, SHAPES, TEXTURES, Picture, Scene, picture
from winnow.workloads.part_scenes import COLOURED, HUES, KINDS, classes_of, draw_scenes, shifted

LEAST_SEEN = 1 / 2000
"""A concept is present from this share of the image on."""


def nearest(value: float) -> str:
    """The name of the hue that is nearest on the circle."""
    return min(HUES, key=lambda name: abs((value - HUES[name] + 0.5) % 1 - 0.5))


class _Masks:
    """PNGs of masks; many concepts share one, so each is encoded once."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def png(self, mask: np.ndarray) -> bytes:
        key = mask.tobytes()
        if key not in self._known:
            self._known[key] = encode_png(mask)
        return self._known[key]


def _shown(scene: Scene, drawn: Picture) -> dict[str, np.ndarray]:
    """Concept -> bool[side, side], the pixels that show it."""
    side = len(drawn.pixels)
    nothing = np.zeros((side, side), bool)
    shown: dict[str, np.ndarray] = {f"part {part}": drawn.seen.get(part, nothing) for part in PARTS}
    masks: dict[str, np.ndarray] = {}
    for kind, names in (("hue", list(HUES)), ("texture", TEXTURES), ("shape", SHAPES)):
        masks |= {f"{kind} {name}": nothing.copy() for name in names}
    for part in COLOURED:
        shown |= {f"{part} {hue}": nothing for hue in HUES}
        if part not in scene.looks:
            continue
        look, seen = scene.looks[part], drawn.seen[part]
        shown[f"{part} {nearest(look.hue)}"] = seen
        for concept in (f"hue {nearest(look.hue)}", f"texture {look.texture}", f"shape {look.shape}"):
            masks[concept] |= seen
    for kind in ("texture", "shape"):  # what most of the animal shows; the first of equals
        areas = {name: mask.sum() for name, mask in masks.items() if name.startswith(kind)}
        most = max(areas, key=lambda name: areas[name])
        masks |= {name: nothing for name in areas if name != most}
    return shown | masks


def _concepts(scene: Scene, drawn: Picture, masks_seen: _Masks) -> list[dict[str, Any]]:
    """Concepts of a picture with the pixels that show them; one that hardly shows is absent, of area 0."""
    found = []
    for name, mask in _shown(scene, drawn).items():
        present = bool(mask.mean() >= LEAST_SEEN)
        png = masks_seen.png(mask) if present else None
        found.append({"concept": name, "present": present, "area": float(mask.mean()) * present, "mask": png})
    return found


CONCEPT_NAMES = (
    *(f"part {part}" for part in PARTS),
    *(f"{part} {hue}" for part in COLOURED for hue in HUES),
    *(f"hue {hue}" for hue in HUES),
    *(f"texture {name}" for name in TEXTURES),
    *(f"shape {name}" for name in SHAPES),
)


def _parts_seen(scene: Scene, drawn: Picture, masks_seen: _Masks) -> list[dict[str, Any]]:
    side, found = len(drawn.pixels), []
    for part in PARTS:
        row: dict[str, Any] = {"part": part, "visible": False}
        if part in scene.looks:
            look, seen, (x, y) = scene.looks[part], drawn.seen[part], drawn.points[part]
            inside = 0 <= x < side and 0 <= y < side
            rows, columns = np.nonzero(seen)
            row |= {"x": x, "y": y, "visible": bool(inside and seen[int(y), int(x)])}
            if len(rows):
                row |= {
                    "box": [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1],
                    "mask": masks_seen.png(seen),
                }
            if part in COLOURED:
                row |= {name: getattr(look, name) for name in ("hue", "saturation", "contrast", "texture", "shape")}
        found.append(row)
    return found


def _factors(scene: Scene, drawn: Picture) -> dict[str, Any]:
    """The scene's factors; hue, saturation, texture and shape are those of the coloured part seen most."""
    largest = max((p for p in COLOURED if p in scene.looks), key=lambda part: int(drawn.seen[part].sum()))
    look = scene.looks[largest]
    return {
        "hue": look.hue,
        "saturation": look.saturation,
        "contrast": scene.contrast,
        "texture": look.texture,
        "shape": look.shape,
        "size": scene.size,
        "angle": scene.angle,
        "background": scene.backdrop.kind,
    }


def scene_table(scenes: Sequence[Scene], side: int, classes: Sequence[str] = KINDS) -> pa.Table:
    """Raw image table of scenes drawn at side x side pixels, with columns parts, concepts and factors beside it."""
    drawn = [picture(scene, side) for scene in scenes]
    pairs = list(zip(scenes, drawn, strict=True))
    known = [(*pair, _Masks()) for pair in pairs]
    return raw_image_table(
        np.stack([picture.pixels for picture in drawn]),
        [scene.label for scene in scenes],
        [scene.source for scene in scenes],
        classes,
        groups=[scene.group for scene in scenes],
        annotations={
            "factors": pa.array([_factors(*pair) for pair in pairs], FACTORS),
            "parts": pa.array([_parts_seen(*each) for each in known], PARTS_SEEN),
            "concepts": pa.array([_concepts(*each) for each in known], CONCEPTS),
        },
    )


def render_parts(
    side: int = 128, scenes: int = 640, seed: int = 0, planted: str | None = None, part: str = "wing"
) -> pa.Table:
    """Raw table of the workload: the eight kinds, or a planted set."""
    drawn = draw_scenes(scenes, seed, planted=planted, part=part)
    return scene_table(drawn, side, classes_of(planted))


def probe_set(name: str, count: int, seed: int, side: int = 128, shift: float = 0.0) -> pa.Table:
    """A probe set: attributes drawn from the distribution at `shift` of the way from UNIFORM to SKEWED, no labels.

    name: sets of other names are drawn independently; A and B at shift 0 are two samples of one distribution.
    """
    return scene_table(draw_scenes(count, seed, distribution=shifted(shift), by_kind=False, name=name), side)


def probe_arrays(
    name: str, count: int, seed: int, side: int = 128, shift: float = 0.0, masked: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pictures of `probe_set` and their concepts, without the rest: uint8[n, side, side, 3], bool[n, K].

    Third, where the concepts of the last `masked` pictures are seen: bool[masked, K, side, side].
    """
    scenes = draw_scenes(count, seed, distribution=shifted(shift), by_kind=False, name=name)
    drawn = [picture(scene, side) for scene in scenes]
    shown = [_shown(*pair) for pair in zip(scenes, drawn, strict=True)]
    present = np.array([[masks[name].mean() >= LEAST_SEEN for name in CONCEPT_NAMES] for masks in shown])
    seen = [[masks[name] for name in CONCEPT_NAMES] for masks in shown[count - masked :]]
    places = np.array(seen, bool).reshape(masked, len(CONCEPT_NAMES), side, side)
    return np.stack([found.pixels for found in drawn]), present, places
