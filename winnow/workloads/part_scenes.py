"""Scenes of the workload `parts`, drawn at random: which animal stands where, how its parts look, before what.

Eight kinds of animal differ in the hue, texture and shape of their parts, each of which several kinds share. Pose,
light, background, missing parts and a twig in front vary. Besides the kinds there are probe sets, whose attributes
follow a distribution instead of a kind, and planted sets, whose classes differ in one factor of one part and nothing
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from winnow.errors import InputError
from winnow.randomness import numpy_generator, stream_seed
from winnow.workloads.part_pictures import (
    BACKGROUNDS,
    PARTS,
    SHAPES,
    TEXTURES,
    Backdrop,
    Look,
    Scene,
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
