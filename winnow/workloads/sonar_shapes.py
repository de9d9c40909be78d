"""Shapes of objects on a sea floor, as heights over the ground: ellipsoids and what is made of them."""

from __future__ import annotations

import numpy as np

from winnow.workloads.side_scan import SIDE

METRES = 0.2
"""Side of a pixel on the ground: 64 of them hold an aeroplane."""


def ellipsoid(centre: np.ndarray, heading: float, radii: tuple[float, float, float], lift: float = 0.0) -> np.ndarray:
    """Heights of the upper half of an ellipsoid lying on the ground; -inf beside it. centre: along track, range."""
    y, x = np.mgrid[:SIDE, :SIDE] * METRES
    ahead = (y - centre[0]) * np.cos(heading) + (x - centre[1]) * np.sin(heading)
    aside = (x - centre[1]) * np.cos(heading) - (y - centre[0]) * np.sin(heading)
    inside = 1 - (ahead / radii[0]) ** 2 - (aside / radii[1]) ** 2
    return np.where(inside > 0, lift + radii[2] * np.sqrt(np.clip(inside, 0, None)), -np.inf)


def _part(
    centre: np.ndarray, heading: float, place: tuple[float, float], turn: float, radii: tuple[float, float, float]
) -> np.ndarray:
    """An ellipsoid at a place given in the object's own axes, turned against them."""
    ahead, aside = place
    shift = np.array(
        [ahead * np.cos(heading) - aside * np.sin(heading), ahead * np.sin(heading) + aside * np.cos(heading)]
    )
    return ellipsoid(centre + shift, heading + turn, radii)


def mine(centre: np.ndarray, heading: float, rng: np.random.Generator) -> np.ndarray:
    """A cylinder, a truncated cone or a sphere of half a metre to two."""
    kind = rng.integers(3)
    radius = rng.uniform(0.25, 0.4)
    if kind == 0:
        return ellipsoid(centre, heading, (rng.uniform(0.8, 1.1), radius, 1.6 * radius))
    if kind == 1:
        return np.minimum(ellipsoid(centre, heading, (0.55, 0.55, 0.9)), rng.uniform(0.4, 0.5))
    return ellipsoid(centre, heading, (radius, radius, radius), lift=radius)


def victim(centre: np.ndarray, heading: float, rng: np.random.Generator) -> np.ndarray:
    """A human body of about 1.75 metres: trunk, head, two legs and two arms."""
    spread, reach = rng.uniform(0.1, 0.35), rng.uniform(0.3, 1.1)
    parts = [
        ((0.0, 0.0), 0.0, (0.38, 0.22, 0.26)),
        ((0.52, 0.0), 0.0, (0.14, 0.12, 0.22)),
        ((-0.72, 0.14), spread, (0.48, 0.11, 0.17)),
        ((-0.72, -0.14), -spread, (0.48, 0.11, 0.17)),
        ((0.2, 0.36), reach, (0.34, 0.09, 0.13)),
        ((0.2, -0.36), -reach, (0.34, 0.09, 0.13)),
    ]
    return np.max([_part(centre, heading, *part) for part in parts], axis=0)


def plane(centre: np.ndarray, heading: float, rng: np.random.Generator) -> np.ndarray:
    """A small aeroplane of 6 to 8 metres, a wing perhaps broken off."""
    length = rng.uniform(3.0, 4.0)
    wings = [side for side in (1, -1) if rng.random() > 0.2] or [1]
    parts = [((0.0, 0.0), 0.0, (length, 0.55, 0.9)), ((-0.85 * length, 0.0), 0.0, (0.5, 1.3, 0.5))]
    parts += [((0.25 * length, side * 1.9), 0.0, (0.7, 2.1, 0.4)) for side in wings]
    return np.max([_part(centre, heading, *part) for part in parts], axis=0)


def wreck(centre: np.ndarray, heading: float, rng: np.random.Generator) -> np.ndarray:
    """A hull of 7 to 11 metres with a deckhouse, perhaps broken in two."""
    length, beam, height = rng.uniform(3.5, 5.5), rng.uniform(1.0, 1.5), rng.uniform(0.8, 1.5)
    hull = np.minimum(_part(centre, heading, (0, 0), 0, (length, beam, 1.4 * height)), height)
    house = _part(centre, heading, (rng.uniform(-0.5, 0.2) * length, 0), 0, (0.9, 0.6 * beam, height + 0.7))
    whole = np.maximum(hull, house)
    if rng.random() < 0.5:
        gap = _part(centre, heading, (rng.uniform(-0.2, 0.4) * length, 0), rng.uniform(-0.5, 0.5), (0.35, 9.0, 1.0))
        whole = np.where(np.isfinite(gap), -np.inf, whole)
    return whole


OBJECTS = {"mine": mine, "victim": victim, "plane": plane, "wreck": wreck}
MARGIN = {"mine": 8, "victim": 9, "plane": 22, "wreck": 26}
"""Pixels between an object's centre and the edge; its shadow may still leave the scene."""
