"""Pictures of one animal made of parts, and where each part is seen: from numbers to pixels, nothing drawn by chance.

A part is an outline in a frame of its own: x runs from the joint (0) to the tip (1), y across (-0.5 to 0.5). Frames are
chained from the body outwards, outlines are filled at four times the resolution, and textures are evaluated in the
part's frame, so that they turn and shrink with it. The same numbers give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from winnow.randomness import numpy_generator

TEXTURES = ("plain", "stripes", "dots", "checks")
SHAPES = ("round", "pointed", "square", "forked")
BACKGROUNDS = ("plain", "gradient", "blobs", "grain")
OVERSAMPLING = 4
PERIOD = 0.1
"""Length of a texture's period, as a share of the animal's length."""
CORNERS = 48


class Anatomy(NamedTuple):
    """Where a part sits: frame of its parent, joint there, direction [degrees, clockwise], size and point."""

    parent: str | None
    joint: tuple[float, float]
    direction: float
    length: float
    width: float
    point: tuple[float, float]


ANATOMY: dict[str, Anatomy] = {
    # Painted in this order; lengths are shares of the animal's length. Points lie where other parts rarely cover them.
    "tail": Anatomy(None, (-0.20, 0.00), 195, 0.36, 0.20, (0.5, 0.0)),
    "leg": Anatomy(None, (0.02, 0.10), 90, 0.27, 0.07, (0.5, 0.0)),
    "body": Anatomy(None, (-0.27, 0.00), 0, 0.54, 0.32, (0.6, 0.3)),
    "wing": Anatomy(None, (0.12, -0.05), 205, 0.36, 0.20, (0.5, 0.0)),
    "crest": Anatomy("head", (0.65, -0.30), -75, 0.24, 0.13, (0.5, 0.0)),
    "head": Anatomy(None, (0.15, -0.10), -35, 0.27, 0.24, (0.3, 0.2)),
    "beak": Anatomy("head", (0.85, 0.10), 40, 0.24, 0.12, (0.5, 0.0)),
    "eye": Anatomy("head", (0.52, -0.12), 0, 0.07, 0.07, (0.5, 0.0)),
}
PARTS = tuple(ANATOMY)


@dataclass(frozen=True)
class Look:
    """How one part of one picture looks. hue, saturation, value: HSV in [0, 1]. contrast: share of its value that a
    texture's dark places lose. turn: degrees from the usual direction. stretch: of length and width.
    """

    hue: float
    saturation: float
    value: float
    contrast: float
    texture: str
    shape: str
    turn: float = 0.0
    stretch: float = 1.0


@dataclass(frozen=True)
class Backdrop:
    """What lies behind: its kind, two RGB colours in [0, 1], a direction [radians], and the seed of its detail."""

    kind: str
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    direction: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """All numbers of one picture. Sizes and places are shares of the image's side, the angle is in degrees."""

    looks: dict[str, Look]
    backdrop: Backdrop
    size: float = 0.7
    angle: float = 0.0
    mirrored: bool = False
    centre: tuple[float, float] = (0.5, 0.5)
    contrast: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0
    occluder: tuple[float, float, float, float] | None = None
    """x, y, length and direction [radians] of a twig in front."""
    occluder_colour: tuple[float, float, float] = (0.35, 0.3, 0.25)
    label: int | None = None
    group: str = ""
    source: str = field(default="", compare=False)


class Picture(NamedTuple):
    """pixels uint8[side, side, 3]; seen: part -> bool[side, side]; points: part -> (x, y) in pixels, maybe outside."""

    pixels: np.ndarray
    seen: dict[str, np.ndarray]
    points: dict[str, tuple[float, float]]


def outline(shape: str) -> np.ndarray:
    """Corners float64[n, 2] of a shape in its frame: x from 0 to 1, y from -0.5 to 0.5."""
    if shape == "forked":
        return np.array([(0, -0.3), (0.25, -0.5), (1, -0.5), (0.62, 0), (1, 0.5), (0.25, 0.5), (0, 0.3)])
    if shape == "pointed":
        x = np.linspace(0, 1, CORNERS // 2) ** 2
        y = np.sqrt(x) * (1 - x)
        half = np.stack([x, 0.5 * y / y.max()], axis=1)
        return np.concatenate([half, (half * [1, -1])[::-1]])
    power = {"round": 1.0, "square": 0.3}[shape]
    turn = 2 * np.pi * np.arange(CORNERS) / CORNERS
    corner = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return 0.5 * np.sign(corner) * np.abs(corner) ** power + [0.5, 0]


def texture(kind: str, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Lightness in [0, 1] of a texture at places given in periods."""
    if kind == "plain":
        return np.ones_like(along)
    waves = np.sin(2 * np.pi * along), np.sin(2 * np.pi * across)
    depth = {"stripes": waves[0], "dots": waves[0] + waves[1] - 0.7, "checks": waves[0] * waves[1] * 2}[kind]
    return np.clip(0.5 + 1.5 * depth, 0, 1)


def rgb(hue: float, saturation: float, value: np.ndarray | float) -> np.ndarray:
    """RGB of HSV, float64[..., 3] (Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978)."""
    sector = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return np.asarray(value)[..., None] * (1 - saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))


def _frame(origin: np.ndarray, direction: float, length: float, width: float) -> np.ndarray:
    """Affine map float64[2, 3] of a part's frame into its parent's."""
    cos, sin = np.cos(np.radians(direction)), np.sin(np.radians(direction))
    return np.array([[cos * length, -sin * width, origin[0]], [sin * length, cos * width, origin[1]]])


def _chain(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return np.concatenate([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], axis=1)


def part_frames(scene: Scene, side: int) -> dict[str, np.ndarray]:
    """Affine map float64[2, 3] from each part's frame to pixels; parts that the scene lacks have none."""
    scale = scene.size * side
    world = _frame(np.array(scene.centre) * side, scene.angle, scale, scale)
    if scene.mirrored:
        world[:, 0] *= -1
    # A child's joint lies on its parent, but its size is its own: the parent's frame is kept in equal units as well.
    rigid: dict[str | None, np.ndarray] = {None: world}
    frames = {}
    for name in sorted(PARTS, key=lambda part: ANATOMY[part].parent is not None):
        part = ANATOMY[name]
        if name not in scene.looks and name != "head":
            continue
        look = scene.looks.get(name)
        turn, stretch = (look.turn, look.stretch) if look else (0.0, 1.0)
        joint = np.array(part.joint)
        if part.parent is not None:
            parent, of = ANATOMY[part.parent], scene.looks.get(part.parent)
            joint = joint * [parent.length, parent.width] * (of.stretch if of else 1.0)
        unit = _frame(joint, part.direction + turn, 1, 1)
        rigid[name] = _chain(rigid[part.parent], unit)
        frames[name] = rigid[name] * [part.length * stretch, part.width * stretch, 1]
    return {name: frame for name, frame in frames.items() if name in scene.looks}


def _cover(corners: np.ndarray, side: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where a polygon may lie, and how much of each pixel there it covers: float64 in [0, 1]."""
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, side)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, side)
    width, height = high - low
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    if width <= 0 or height <= 0:
        return box, np.zeros((max(height, 0), max(width, 0)))
    canvas = Image.new("L", (int(width) * OVERSAMPLING, int(height) * OVERSAMPLING))
    fine = (corners - low) * OVERSAMPLING
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in fine], fill=255)
    return box, np.asarray(canvas.reduce(OVERSAMPLING), float) / 255


def _painted(look: Look, frame: np.ndarray, box: tuple[slice, slice], size: float) -> np.ndarray:
    """RGB float64[h, w, 3] of a part over a box of pixels; size: the animal's length in pixels."""
    rows, columns = np.mgrid[box[0], box[1]] + 0.5
    away = np.stack([columns - frame[0, 2], rows - frame[1, 2]], axis=-1)
    axes = frame[:, :2] / np.linalg.norm(frame[:, :2], axis=0)
    along, across = np.moveaxis(away @ axes, -1, 0) / (PERIOD * size)
    light = texture(look.texture, along, across)
    return rgb(look.hue, look.saturation, look.value * (1 - look.contrast * (1 - light)))


def _backdrop(backdrop: Backdrop, side: int) -> np.ndarray:
    first, second = np.array(backdrop.colours)
    if backdrop.kind == "plain":
        return np.broadcast_to(first, (side, side, 3)).copy()
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    generator = numpy_generator(backdrop.seed, "backdrop")
    if backdrop.kind == "gradient":
        share = 0.5 + np.cos(backdrop.direction) * columns + np.sin(backdrop.direction) * rows
    elif backdrop.kind == "blobs":
        x, y, radius = generator.uniform([-0.5, -0.5, 0.05], [0.5, 0.5, 0.15], (8, 3)).T[..., None, None]
        distance = np.sqrt((columns - x) ** 2 + (rows - y) ** 2)
        share = np.clip((radius - distance) * 24 + 0.5, 0, 1).max(axis=0)
    else:
        cells = generator.uniform(0, 255, (16, 16)).astype(np.uint8)
        share = np.asarray(Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC), float) / 255
    return first + np.clip(share, 0, 1)[..., None] * (second - first)


def _twig(occluder: tuple[float, float, float, float], side: int) -> np.ndarray:
    x, y, length, direction = occluder
    along = np.array([np.cos(direction), np.sin(direction)]) * length / 2
    across = np.array([-np.sin(direction), np.cos(direction)]) * 0.035
    ends = np.array([along + across, along - across, -along - across, -along + across])
    return (ends + [x, y]) * side


def picture(scene: Scene, side: int) -> Picture:
    """Draw a scene at side x side pixels. A part is seen at a pixel of which half or more shows it."""
    frames = part_frames(scene, side)
    canvas = _backdrop(scene.backdrop, side)
    share: dict[str, np.ndarray] = {}
    layers = [(name, frames[name][:, :2] @ outline(scene.looks[name].shape).T) for name in PARTS if name in frames]
    shapes = [(name, corners.T + frames[name][:, 2]) for name, corners in layers]
    if scene.occluder is not None:
        shapes.append(("", _twig(scene.occluder, side)))
    for name, corners in shapes:
        box, cover = _cover(corners, side)
        if name:
            paint = _painted(scene.looks[name], frames[name], box, scene.size * side)
        else:
            paint = np.broadcast_to(np.array(scene.occluder_colour), (*cover.shape, 3))
        canvas[box] += cover[..., None] * (paint - canvas[box])
        for below in share.values():
            below[box] *= 1 - cover
        if name:
            share[name] = np.zeros((side, side))
            share[name][box] = cover
    canvas = 0.5 + scene.contrast * (canvas - 0.5)
    canvas += scene.noise * numpy_generator(scene.noise_seed, "noise").standard_normal(canvas.shape)
    points = {}
    for name, frame in frames.items():
        x, y = frame[:, :2] @ ANATOMY[name].point + frame[:, 2]
        points[name] = (float(x), float(y))
    pixels = np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return Picture(pixels, {name: cover >= 0.5 for name, cover in share.items()}, points)
