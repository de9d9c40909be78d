"""The gallery's pictures are checked pixel by pixel: their colours, borders, places and numbers."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.gallery_charts import CELL, coloured, enlarged, explanation_grid, outlined, region_weights

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 1), dtype=np.uint8)
VERMILION, BLUE = [213, 94, 0], [0, 114, 178]


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_the_largest_values_have_the_full_colour_of_their_sign_and_0_has_none():
    image = np.full((1, 3, 1), 255, np.uint8)
    found = coloured(image, np.array([[2.0, -2.0, 0.0]]))
    assert found.tolist() == [[VERMILION, BLUE, [255, 255, 255]]]


def test_strength_grows_with_size_alone_and_each_map_has_its_own_scale():
    image = np.zeros((1, 4, 1), np.uint8)
    values = np.array([[1.0, 0.5, 0.25, -0.5]])
    found = coloured(image, values).astype(int)
    away = np.abs(found - found.max() * 0 - coloured(image, values * 0).astype(int)).sum(2)[0]
    assert away[0] > away[1] > away[2] > 0
    assert np.array_equal(found, coloured(image, 1000 * values))
    assert np.array_equal(coloured(image, values * 0), np.full((1, 4, 3), 195))


def test_enlarged_images_are_the_same_pixel_by_pixel():
    large = enlarged(IMAGES[0], 20)
    assert large.shape == (24, 18, 1)
    assert np.array_equal(large[::3, ::3], IMAGES[0]) and np.array_equal(large[2::3, 2::3], IMAGES[0])


def test_lines_lie_between_regions_and_nowhere_else():
    labels = np.repeat([[0, 0, 0, 1, 1, 1]], 8, axis=0)
    found = outlined(np.zeros((8, 6, 1), np.uint8), labels, 16, "#FFFFFF")
    assert found.shape == (16, 12, 3)
    marked = (found == 255).all(2)
    assert marked.any(axis=0).nonzero()[0].tolist() == [6] and marked[:, 6].all()


def test_the_grid_has_a_row_for_each_method_below_the_images(tmp_path):
    maps = {"a": np.ones((2, 8, 6)), "b": -np.ones((2, 8, 6))}
    chart = explanation_grid(IMAGES, ["cat", "dog, is cat"], maps)
    places = {(row["x"], row["y"]): pixels(row["uri"]) for row in drawn(chart) if "uri" in row}
    assert set(places) == {(x, y) for x in (0.5, 1.5) for y in (0.5, 1.5, 2.5)}
    assert np.array_equal(places[1.5, 0.5], enlarged(IMAGES[1], CELL)[..., 0])
    assert (places[0.5, 1.5] == VERMILION).all() and (places[1.5, 2.5] == BLUE).all()
    save_chart(chart, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert all(name in text for name in ("dog, is cat", "for the class", "against it", "image"))


def test_numbers_stand_inside_the_regions_of_largest_weight():
    labels = np.repeat(np.repeat(np.arange(6).reshape(2, 3), 4, axis=0), 2, axis=1)
    weight = np.array([0.5, -0.25, 0.01, 0.02, 0.0301, -0.04])
    chart = region_weights(IMAGES, ["a", "b"], np.stack([labels] * 2), [weight, -weight], [0.5, 1.0])
    numbers = [row for row in drawn(chart) if "label" in row]
    first = [row for row in numbers if row["y"] < 1]
    assert [row["label"] for row in first] == ["+0.5", "-0.25", "-0.04", "+0.03", "+0.02"]
    for row, region in zip(first, [0, 1, 5, 4, 3], strict=True):
        column, line = (int((row[k] - base - 0.03) / 0.94 * size) for k, base, size in (("x", 2, 6), ("y", 0, 8)))
        assert labels[line, column] == region
    assert len(numbers) == 10 and {row["y"] >= 1 for row in numbers} == {True, False}


def test_of_numbers_that_would_cover_one_another_the_larger_stays():
    labels = np.tile(np.arange(6), (8, 1))  # strips narrower than a number
    weight = np.array([0.1, 0.2, 0.3, 0.01, 0.25, 0.26])
    chart = region_weights(IMAGES[:1], ["a"], labels[None], [weight], [0.5])
    assert [row["label"] for row in drawn(chart) if "label" in row] == ["+0.3", "+0.26", "+0.1"]


def test_the_truth_stands_beside_the_weights_where_it_is_known():
    labels = np.repeat([[0, 0, 0, 1, 1, 1]], 8, axis=0)
    truth = np.zeros((2, 8, 6), bool)
    truth[0, 2:5, 1:4] = True
    dark = np.full_like(IMAGES, 40)
    chart = region_weights(dark, ["a", "b"], np.stack([labels] * 2), [[1.0, -1.0]] * 2, [0.5, 1.0], truth)
    cells = {(row["x"], row["y"]): pixels(row["uri"]) for row in drawn(chart) if "uri" in row}
    assert set(cells) == {(x, y) for x in (0.5, 1.5, 2.5, 3.5) for y in (0.5, 1.5)}
    found = cells[3.5, 0.5].astype(int)
    times = len(found) // 8
    middle = found[times // 2 :: times, times // 2 :: times]
    assert (middle[truth[0]] == 40).all() and (middle[~truth[0]] > 195).all()  # the rest is faint
    orange = (found == [230, 159, 0]).all(axis=2)
    rows, columns = np.nonzero(orange)
    assert (rows.min(), rows.max()) == (2 * times, 5 * times) and (columns.min(), columns.max()) == (times, 4 * times)
    assert not (cells[3.5, 1.5] == 40).any()  # nothing is there
    before = region_weights(dark, ["a", "b"], np.stack([labels] * 2), [[1.0, -1.0]] * 2, [0.5, 1.0])
    assert {row["x"] for row in drawn(before) if "uri" in row} == {0.5, 1.5, 2.5}


def test_a_gallery_without_images_is_refused():
    with pytest.raises(InputError, match="images"):
        explanation_grid(IMAGES[:0], [], {})
