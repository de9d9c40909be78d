"""Shapes on a sea floor have the size, the place and the turn that they are asked for."""

import numpy as np
import pytest

from winnow.workloads import sonar_shapes as shapes
from winnow.workloads.side_scan import SIDE

CENTRE = np.array([SIDE / 2, SIDE / 2]) * shapes.METRES


def ground(heights):
    return np.isfinite(heights)


def test_an_ellipsoid_covers_the_area_of_its_ellipse_and_holds_half_its_volume():
    radii = (3.0, 1.5, 0.9)
    heights = shapes.ellipsoid(CENTRE, 0.4, radii)
    pixel = shapes.METRES**2
    assert ground(heights).sum() * pixel == pytest.approx(np.pi * 3.0 * 1.5, rel=0.03)
    assert heights[ground(heights)].sum() * pixel == pytest.approx(2 / 3 * np.pi * 3.0 * 1.5 * 0.9, rel=0.03)
    assert heights.max() == pytest.approx(0.9, rel=0.01)


def test_an_ellipsoid_lies_along_its_heading_and_a_lift_raises_all_of_it():
    across = shapes.ellipsoid(CENTRE, 0.0, (3.0, 0.5, 1.0))
    rows, columns = np.nonzero(ground(across))
    assert np.ptp(rows) > 4 * np.ptp(columns)
    turned = shapes.ellipsoid(CENTRE, np.pi / 2, (3.0, 0.5, 1.0))
    np.testing.assert_array_equal(ground(turned), ground(across).T)
    lifted = shapes.ellipsoid(CENTRE, 0.0, (3.0, 0.5, 1.0), lift=0.7)
    np.testing.assert_allclose(lifted[ground(across)], across[ground(across)] + 0.7)


@pytest.mark.parametrize("name", shapes.OBJECTS)
def test_objects_have_their_size_whatever_the_draw_and_the_heading(name):
    spans = {"mine": (0.4, 2.4), "victim": (1.2, 2.6), "plane": (5.5, 8.6), "wreck": (4.0, 11.4)}
    low, high = spans[name]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        heights = shapes.OBJECTS[name](CENTRE, rng.uniform(0, 2 * np.pi), rng)
        places = np.argwhere(ground(heights)) * shapes.METRES
        span = max(np.linalg.norm(places - place, axis=1).max() for place in places)
        assert low <= span <= high and 0 < heights[ground(heights)].max() < 2.6
        assert np.abs(places - CENTRE).max() < shapes.MARGIN[name] * shapes.METRES + shapes.METRES


def test_the_same_draw_makes_the_same_object():
    for make in shapes.OBJECTS.values():
        first, second = (make(CENTRE, 1.0, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
