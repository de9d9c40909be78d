"""Simulated side-scan sonar: objects on a sea floor, their echo and their shadow, with the truth about both.

Each scene is a height map seen from a towed sonar: rays in the plane of a ping meet the ground in order of range, so
what rises above the line of sight hides what lies behind it. Echo strength follows Lambert's law (Urick, "Principles
of Underwater Sound", 1983). Speckle, range fall-off and the darkness of shadow are those measured in real pings.
Ground range stands for slant range: layover is not simulated, nor is multipath.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import ndimage, special, stats

from winnow.randomness import numpy_generator
from winnow.workloads.annotations import CONCEPTS
from winnow.workloads.image_tables import encode_png, raw_image_table
from winnow.workloads.side_scan import SIDE
from winnow.workloads.sonar_calibration import Calibration
from winnow.workloads.sonar_shapes import MARGIN, METRES, OBJECTS, ellipsoid

CLASSES = ("floor", "mine", "victim", "plane", "wreck")
SHARES = (0.4, 0.2, 0.15, 0.1, 0.15)
LINES, SCENES = 100, 14
"""Survey lines, and scenes of each. A line keeps its sea floor and its sensor, and is never divided among splits."""
BEAM = np.radians(0.6)
"""Width of the beam along the track, between its half-power points."""
RISEN = 0.05
"""Height in metres from which on a pixel belongs to an object."""
TRUTH = ("object", "shadow")
"""Concepts that annotate every scene."""


class Scene(NamedTuple):
    """One rendered view; rows are pings, columns ground range away from the sonar."""

    pixels: np.ndarray
    """uint8[64, 64]"""
    object: np.ndarray
    """bool[64, 64], where an object stands."""
    shadow: np.ndarray
    """bool[64, 64], what is dark because of the object and would not be without it."""


@dataclass(frozen=True)
class Line:
    """What the scenes of one survey line share."""

    altitude: float
    """Metres of the sonar above the sea floor."""
    roughness: float
    """Standard deviation of the sea floor's height in metres."""
    ripple: tuple[float, float, float]
    """Height [m], wavelength [m] and heading [rad] of ripples."""
    boulders: float
    """Boulders per scene, on average."""
    level: float
    """How much brighter the sea floor is than the calibrated one."""


def survey_line(rng: np.random.Generator) -> Line:
    """A line over some sea floor."""
    ripple = (float(rng.choice([0.0, 0.02, 0.04])), float(rng.uniform(0.8, 2.5)), float(rng.uniform(0, np.pi)))
    altitude, roughness = float(rng.uniform(3, 8)), float(rng.uniform(0.004, 0.03))
    return Line(altitude, roughness, ripple, float(rng.choice([0.0, 1.0, 4.0])), float(rng.normal(0, 8)))


def sea_floor(line: Line, rng: np.random.Generator) -> np.ndarray:
    """Heights float64[64, 64] in metres: a rough plane with ripples and boulders."""
    y, x = np.mgrid[:SIDE, :SIDE] * METRES
    rough = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.5)
    height, length, heading = line.ripple
    phase = rng.uniform(0, 2 * np.pi)
    waves = height * np.sin(2 * np.pi * (x * np.cos(heading) + y * np.sin(heading)) / length + phase)
    ground = line.roughness * rough / rough.std() + waves
    for _ in range(rng.poisson(line.boulders)):
        radius = rng.uniform(0.15, 0.45)
        centre = rng.uniform(0, SIDE * METRES, 2)
        ground = np.maximum(ground, ellipsoid(centre, 0.0, (radius, radius * rng.uniform(0.7, 1), radius)))
    return np.asarray(ground)


def lit(height: np.ndarray, altitude: float, nearest: float) -> np.ndarray:
    """bool[pings, pixels]: what the sonar sees, rays being straight.

    height: metres above the plane that the sonar is `altitude` metres over. nearest: ground range of the first column.
    """
    distance = nearest + METRES * np.arange(height.shape[1])
    slope = (height - altitude) / distance
    before = np.maximum.accumulate(slope, axis=1)
    return np.concatenate([np.ones_like(slope[:, :1], bool), slope[:, 1:] > before[:, :-1]], axis=1)


def render(
    ground: np.ndarray, thing: np.ndarray, line: Line, nearest: float, measured: Calibration, rng: np.random.Generator
) -> Scene:
    """What a sonar at the line's altitude records of an object (heights, -inf beside it) on the ground.

    nearest: ground range of the first column in metres.
    """
    height = np.maximum(ground, thing)
    seen = lit(height, line.altitude, nearest)
    standing = (thing > ground + RISEN) & np.isfinite(thing)
    distance = nearest + METRES * np.arange(SIDE)
    # Cosine between the surface's normal and the way to the sonar; flat ground has altitude / slant range.
    along, across = np.gradient(height, METRES)
    up = line.altitude - height
    facing = (across * distance + up) / np.sqrt((1 + along**2 + across**2) * (distance**2 + up**2))
    flat = line.altitude / np.hypot(distance, line.altitude)
    strength = np.clip(facing, 0.02, None) ** 2 / flat**2  # Lambert: the square of the cosine
    strength = np.where(standing, 2.5 * strength, strength)  # metal and bone are harder than sand
    slant = np.hypot(distance, line.altitude)
    energy = _beam(np.where(seen, strength, 0.0), slant)
    bottom = measured.fall[0] + measured.fall[1] * np.log(slant) + line.level
    echo = bottom + measured.gain * np.log(np.clip(energy, 1e-6, None)) + measured.gain * _speckle(measured, rng)
    dark = measured.shadow[0] + measured.shadow[1] * rng.normal(size=echo.shape)
    pixels = np.clip(np.rint(np.maximum(echo, dark)), 0, 255).astype(np.uint8)
    return Scene(pixels, standing, ~seen & lit(ground, line.altitude, nearest) & ~standing)


def _beam(strength: np.ndarray, slant: np.ndarray) -> np.ndarray:
    """Smear along the track by the beam, which widens with range; the energy of a column is kept."""
    width = slant * BEAM / METRES / 2.355  # standard deviation in pixels of a Gaussian of this half-power width
    offset = np.arange(SIDE)[:, None] - np.arange(SIDE)[None]
    weights = np.exp(-(offset[None] ** 2) / (2 * np.maximum(width, 1e-3)[:, None, None] ** 2))
    weights /= weights.sum(axis=2, keepdims=True)
    return np.einsum("rij,jr->ir", weights, strength)


def _speckle(measured: Calibration, rng: np.random.Generator) -> np.ndarray:
    """Logarithm of gamma energy of mean 1, correlated between neighbours as in the real pings."""
    field = rng.normal(size=(SIDE + 2, SIDE + 2))
    for axis, correlation in ((0, measured.along), (1, measured.across)):
        field = ndimage.convolve1d(field, _smoothing(correlation), axis=axis)
    field = field[1:-1, 1:-1]
    return np.asarray(np.log(stats.gamma.ppf(special.ndtr(field), measured.looks) / measured.looks))


def _smoothing(correlation: float) -> np.ndarray:
    """Three weights that give white noise this correlation between neighbours and leave its variance 1."""
    r = float(np.clip(correlation, 1e-6, 0.66))
    side = (1 - np.sqrt(max(0.0, 1 - 2 * r**2))) / (2 * r)
    weights = np.array([side, 1.0, side])
    return weights / np.sqrt((weights**2).sum())


def sonar_scenes(measured: Calibration, source_id: str, lines: int = LINES, scenes: int = SCENES) -> pa.Table:
    """Raw image table of lines x scenes views, classes in the proportions SHARES.

    group: the survey line. Annotations: altitude_m, range_m, and concepts, where object and shadow are, as masks.
    The same calibration gives the same scenes.
    """
    images, labels, groups, altitude, distance, truth = [], [], [], [], [], []
    for number in range(lines):
        rng = numpy_generator(0, "sonar scenes", str(number))
        line = survey_line(rng)
        # Every line has the sea floor alone once, so that lines form one stratum of the split.
        kinds = [0, *rng.choice(len(CLASSES), scenes - 1, p=SHARES)]
        for kind in kinds:
            nearest = float(rng.uniform(1.5, 4.0) * line.altitude)
            scene = view(CLASSES[kind], line, nearest, measured, rng)
            images.append(scene.pixels)
            labels.append(int(kind))
            groups.append(f"line {number}")
            altitude.append(line.altitude)
            distance.append(nearest)
            truth.append(scene)
    annotations = {
        "altitude_m": pa.array(altitude, pa.float32()),
        "range_m": pa.array(distance, pa.float32()),
        "concepts": _concepts(truth),
    }
    sources = [f"{source_id}/{group}" for group in groups]
    return raw_image_table(
        np.stack(images)[..., None], labels, sources, CLASSES, groups=groups, annotations=annotations
    )


def _concepts(scenes: list[Scene]) -> pa.Array:
    """Column of where object and shadow are; an absent one has an empty mask."""
    entries = []
    for scene in scenes:
        masks = zip(TRUTH, (scene.object, scene.shadow), strict=True)
        entries.append(
            [
                {"concept": name, "present": bool(mask.any()), "area": mask.mean(), "mask": encode_png(mask)}
                for name, mask in masks
            ]
        )
    return pa.array(entries, CONCEPTS)


def view(kind: str, line: Line, nearest: float, measured: Calibration, rng: np.random.Generator) -> Scene:
    """One scene of a class on a line."""
    ground = sea_floor(line, rng)
    thing = np.full((SIDE, SIDE), -np.inf)
    if kind in OBJECTS:
        edge = MARGIN[kind]
        # Near the sonar rather than far from it, so that there is room for the shadow.
        centre = METRES * np.array([rng.uniform(edge, SIDE - edge), rng.uniform(edge, max(edge + 1, 0.6 * SIDE))])
        thing = OBJECTS[kind](centre, float(rng.uniform(0, 2 * np.pi)), rng)
    return render(ground, thing, line, nearest, measured, rng)
