"""Strips show the images, regions and points that the scores were counted from."""

import numpy as np
import pytest

from winnow.evaluate.prototype_strips import strips
from winnow.workloads.annotations import PartPoints
from winnow.workloads.image_tables import decode_png

N, SIDE = 22, 20


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    labels, of = np.arange(N) % 2, np.array([0, 1, 1])
    at = random.integers(0, SIDE, (N, 3, 2))
    at[3, 2] = -1
    xy = np.full((N, 2, 2), np.nan, np.float32)
    xy[:, 0] = at[:, 2, ::-1] + [3, -3]  # in the region's corner
    xy[:, 1] = at[:, 2, ::-1] + [4, 0]
    visible = np.ones((N, 2), bool)
    visible[1, 0] = False
    points = PartPoints(("head", "tail"), xy, visible)
    pixels = random.integers(0, 256, (N, SIDE, SIDE, 3)).astype(np.uint8)
    return strips(np.array([np.nan, 0.25, 0.5]), at, of, labels, points, pixels, 3), at, pixels


def test_the_best_and_the_worst_are_shown_on_the_first_eight_images_of_their_class(rows):
    found, at, pixels = rows
    assert [(r["which"], r["prototype"], r["frequency"]) for r in found[::8]] == [("best", 2, 0.5), ("worst", 1, 0.25)]
    assert [r["place"] for r in found] == list(range(8)) * 2
    for place in range(8):
        assert np.array_equal(decode_png(found[place]["png"]), pixels[1 + 2 * place])
    assert found[1]["region"] is None and not any(point["hit"] for point in found[1]["points"])
    row, column = at[5, 2]
    assert found[2]["region"] == [max(0, column - 3), max(0, row - 3), min(20, column + 4), min(20, row + 4)]
    assert [(p["part"], p["hit"]) for p in found[2]["points"]] == [("head", True), ("tail", False)]
    assert [p["part"] for p in found[0]["points"]] == ["tail"]  # the head is hidden
