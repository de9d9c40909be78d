"""The workload `parts`: rendered animals made of named parts, of which everything is known.

Eight kinds of animal differ in the hue, texture and shape of their parts, each of which several kinds share. Pose,
light, background, missing parts and a twig in front vary. Every picture knows where each part is seen, and which
concepts it shows where. Besides the kinds there are probe sets, whose attributes follow a distribution instead of a
kind, and planted sets, whose classes differ in one factor of one part and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.errors import InputError
from winnow.randomness import numpy_generator, stream_seed
from winnow.workloads.annotations import CONCEPTS, FACTORS, PARTS_SEEN
from winnow.workloads.image_tables import encode_png, raw_image_table
from winnow.workloads.part_pictures import (
    BACKGROUNDS,
    PARTS,
    SHAPES,
    TEXTURES,
    Backdrop,
    Look,
    Picture,
    Scene,
    picture,
    rgb,
)

VERSION = 1
"""Of the drawing: it enters every key and seed, so that pictures of two versions never mix."""
HUES = {"red": 0 / 6, "yellow": 1 / 6, "green": 2 / 6, "cyan": 3 / 6, "blue": 4 / 6, "magenta": 5 / 6}
COLOURED = ("tail", "body", "wing", "crest", "head", "beak")
"""Parts with a hue, a texture and a shape of their own; leg and eye look alike everywhere."""
KINDS = tuple(f"kind{i}" for i in range(1, 9))
PLANTED = ("hue", "texture", "shape", "contrast", "absence", "confounded")
CONTRASTS = (0.15, 0.45, 0.9)
LOST = ("tail", "leg", "wing", "crest", "beak", "eye")
"""Parts that an animal can lack."""
LEAST_SEEN = 1 / 2000
"""A concept is present from this share of the image on."""
BLOCK = 2
"""Scenes of one block share class, background and light, and go to one split."""
LIKE_KIND = 0.9
"""Share of attributes that follow the kind; the others are drawn at random."""

_PLAIN = {
    "leg": Look(0.08, 0.5, 0.35, 0.0, "plain", "square"),
    "eye": Look(0.0, 0.0, 0.05, 0.0, "plain", "round"),
}


@dataclass(frozen=True)
class Distribution:
    """Where attributes that follow no kind, and all of pose and light, are drawn from.

    hue, texture, shape, background: weights over HUES, TEXTURES, SHAPES, BACKGROUNDS. saturation, contrast, size:
    ranges. noise: standard deviation of pixels in [0, 1]. angle: largest turn [degrees]. twig: chance of one in front.
    absent: chance that a part is missing, for each that can be.
    """

    hue: tuple[float, ...] = (1.0,) * len(HUES)
    texture: tuple[float, ...] = (1.0,) * len(TEXTURES)
    shape: tuple[float, ...] = (1.0,) * len(SHAPES)
    background: tuple[float, ...] = (1.0,) * len(BACKGROUNDS)
    saturation: tuple[float, float] = (0.6, 1.0)
    contrast: tuple[float, float] = (0.75, 1.0)
    size: tuple[float, float] = (0.6, 0.8)
    angle: float = 25.0
    noise: float = 0.02
    twig: float = 0.35
    absent: float = 0.1


UNIFORM = Distribution()
SKEWED = Distribution(
    hue=(6.0, 3.0, 2.0, 1.0, 0.5, 0.5),
    texture=(5.0, 2.0, 1.0, 1.0),
    shape=(4.0, 1.0, 2.0, 1.0),
    background=(0.5, 1.0, 2.0, 3.0),
    saturation=(0.3, 0.7),
    contrast=(0.4, 0.7),
    size=(0.5, 0.7),
    angle=40.0,
    noise=0.06,
    twig=0.6,
    absent=0.25,
)


def shifted(strength: float) -> Distribution:
    """The distribution at `strength` in [0, 1] of the way from UNIFORM to SKEWED."""
    if not 0 <= strength <= 1:
        raise InputError(f"shift strength is {strength}; it must lie between 0 and 1")

    def between(a: Any, b: Any) -> Any:
        if not isinstance(a, tuple):
            return a + strength * (b - a)
        x, y = np.array(a), np.array(b)
        if len(a) > 2:  # weights: shares, so that they mix
            x, y = x / x.sum(), y / y.sum()
        return tuple((x + strength * (y - x)).tolist())

    return Distribution(**{name: between(value, getattr(SKEWED, name)) for name, value in vars(UNIFORM).items()})


def kind_attributes(kind: int) -> dict[str, tuple[str, str, str]]:
    """Part -> hue, texture and shape of a kind, 0 to 7; each attribute is shared by two kinds or more."""
    bit = [kind >> 2 & 1, kind >> 1 & 1, kind & 1]
    found = {}
    for i, part in enumerate(COLOURED):
        first, second, third = bit[i % 3], bit[(i + 1) % 3], bit[(i + 2) % 3]
        hue = list(HUES)[(2 * first + second + i) % len(HUES)]
        mark = TEXTURES[(2 * second + third + i) % len(TEXTURES)]
        found[part] = (hue, mark, SHAPES[(2 * third + i) % len(SHAPES)])
    return found


def _pick(generator: np.random.Generator, names: Sequence[str], weights: Sequence[float]) -> str:
    share = np.cumsum(weights) / np.sum(weights)
    return names[min(int(np.searchsorted(share, generator.random(), side="right")), len(names) - 1)]


def _looks(generator: np.random.Generator, kind: int | None, of: Distribution, always: str) -> dict[str, Look]:
    attributes = {} if kind is None else kind_attributes(kind)
    saturation = generator.uniform(*of.saturation)
    looks = {}
    missing = dict(zip(LOST, generator.random(len(LOST)) < of.absent, strict=True))
    for part in PARTS:
        turn = generator.uniform(-20, 20) if part not in ("body", "eye") else 0.0
        stretch = generator.uniform(0.88, 1.12)
        if part in _PLAIN:
            looks[part] = replace(_PLAIN[part], turn=turn, stretch=stretch)
            continue
        drawn = (
            _pick(generator, list(HUES), of.hue),
            _pick(generator, TEXTURES, of.texture),
            _pick(generator, SHAPES, of.shape),
        )
        follows = generator.random(3) < LIKE_KIND
        hue, mark, shape = (
            own if part in attributes and yes else other
            for own, yes, other in zip(attributes.get(part, drawn), follows, drawn, strict=True)
        )
        looks[part] = Look(
            hue=(HUES[hue] + generator.uniform(-0.02, 0.02)) % 1,
            saturation=saturation * generator.uniform(0.85, 1.0),
            value=generator.uniform(0.75, 0.95),
            contrast=generator.uniform(0.5, 0.7),
            texture=mark,
            shape=shape,
            turn=turn,
            stretch=stretch,
        )
    return {part: look for part, look in looks.items() if part == always or not missing.get(part, False)}


def _backdrop(generator: np.random.Generator, of: Distribution) -> Backdrop:
    muted = [rgb(generator.random(), generator.uniform(0.05, 0.3), generator.uniform(0.4, 0.85)) for _ in range(2)]
    colours = tuple(tuple(colour.tolist()) for colour in muted)
    kind = _pick(generator, BACKGROUNDS, of.background)
    return Backdrop(kind, colours, generator.uniform(0, 2 * np.pi), int(generator.integers(1 << 31)))  # type: ignore[arg-type]


def _plant(looks: dict[str, Look], planted: str, part: str, label: int, generator: np.random.Generator) -> None:
    """Make a part tell the class, by one factor alone."""
    if planted == "absence":
        if label:
            del looks[part]
        return
    look = looks[part]
    if planted == "contrast":  # of a texture: a plain part has none
        marked = _pick(generator, TEXTURES, (0.0, 1.0, 1.0, 1.0))
        looks[part] = replace(look, texture=marked, contrast=CONTRASTS[label])
    elif planted == "shape":
        looks[part] = replace(look, shape=SHAPES[label])
    elif planted == "hue":
        looks[part] = replace(look, hue=(list(HUES.values())[label] + generator.uniform(-0.02, 0.02)) % 1)
    elif planted == "texture":
        looks[part] = replace(look, texture=TEXTURES[label])
    else:  # confounded: red is what meets the eye, and says nothing
        looks[part] = replace(look, texture=TEXTURES[label], hue=generator.uniform(-0.02, 0.02) % 1)


def classes_of(planted: str | None) -> tuple[str, ...]:
    """Class names of the eight kinds, or of a planted set."""
    names: dict[str | None, tuple[str, ...]] = {
        None: KINDS,
        "hue": ("red", "yellow", "green", "cyan"),
        "texture": TEXTURES,
        "shape": SHAPES,
        "contrast": ("faint", "middle", "strong"),
        "absence": ("present", "absent"),
        "confounded": TEXTURES[:2],
    }
    if planted not in names:
        raise InputError(f"planted is {planted!r}; use one of {', '.join(PLANTED)}, or none for the eight kinds")
    return names[planted]


def draw_scenes(
    count: int,
    seed: int,
    *,
    planted: str | None = None,
    part: str = "wing",
    distribution: Distribution = UNIFORM,
    by_kind: bool = True,
    name: str = "kinds",
) -> list[Scene]:
    """The first `count` scenes of a seed; a smaller count gives a prefix. Labels take turns from block to block.

    planted: the one factor of `part` that tells the class, all others being drawn at random; None for the eight kinds.
    by_kind: False draws all attributes from the distribution; there is no label then. name: of the random stream.
    Raises InputError for an unknown factor, or a part that has no such factor.
    """
    if count < 1:
        raise InputError(f"scenes is {count}; draw at least 1")
    classes = classes_of(planted)
    if planted is not None and part not in COLOURED:
        raise InputError(f"part is {part!r}; a planted factor belongs to one of {', '.join(COLOURED)}")
    scenes: list[Scene] = []
    for block in range(-(-count // BLOCK)):
        stream = (f"parts{VERSION}", name, planted or "", part if planted else "", str(block))
        generator = numpy_generator(seed, *stream)
        backdrop, light = _backdrop(generator, distribution), generator.uniform(*distribution.contrast)
        label = block % len(classes) if by_kind else None
        for index in range(BLOCK):
            looks = _looks(generator, label if planted is None else None, distribution, part if planted else "")
            if planted is not None and label is not None:
                _plant(looks, planted, part, label, generator)
            twig = generator.uniform([0.25, 0.25, 0.5, 0], [0.75, 0.75, 0.9, np.pi]).tolist()
            hidden = generator.random() < distribution.twig and planted is None
            scene = Scene(
                looks=looks,
                backdrop=backdrop,
                size=generator.uniform(*distribution.size),
                angle=generator.uniform(-distribution.angle, distribution.angle),
                mirrored=bool(generator.random() < 0.5),
                centre=tuple(generator.uniform(0.44, 0.56, 2).tolist()),
                contrast=light,
                noise=distribution.noise,
                noise_seed=stream_seed(seed, *stream, "noise", str(index)),
                occluder=tuple(twig) if hidden else None,
                label=label,
                group=f"parts{VERSION}-{name}-seed{seed}-block{block}",
                source=f"parts{VERSION}-{name}-seed{seed}-scene{block * BLOCK + index}",
            )
            scenes.append(scene)
    return scenes[:count]


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
    name: str, count: int, seed: int, side: int = 128, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of `probe_set` and their concepts, without the rest: uint8[n, side, side, 3], bool[n, K]."""
    scenes = draw_scenes(count, seed, distribution=shifted(shift), by_kind=False, name=name)
    drawn = [picture(scene, side) for scene in scenes]
    shown = [_shown(*pair) for pair in zip(scenes, drawn, strict=True)]
    present = np.array([[masks[name].mean() >= LEAST_SEEN for name in CONCEPT_NAMES] for masks in shown])
    return np.stack([found.pixels for found in drawn]), present


def perturbations(count: int, side: int, seed: int = 0, deviation: float = 0.2, clip: float = 0.25) -> np.ndarray:
    """Noise that is added to standardised images when stability is scored: float32[count, 3, side, side].

    Gaussian, clipped; image i meets the same noise for every model, whatever the count.
    """
    noise = [
        numpy_generator(seed, f"parts{VERSION}", "perturbation", str(i)).standard_normal((3, side, side), np.float32)
        for i in range(count)
    ]
    return np.clip(np.float32(deviation) * np.stack(noise), -clip, clip)
