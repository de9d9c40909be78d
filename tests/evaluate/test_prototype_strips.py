"""Strips show the images, regions and points that the scores were counted from."""

import numpy as np
import pytest

from tests.evaluate.prototype_rows import strip_rows
from winnow.workloads.image_tables import decode_png


@pytest.fixture
def rows():
    return strip_rows()


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
