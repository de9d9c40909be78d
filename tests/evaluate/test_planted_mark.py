"""The mark is checked pixel by pixel, and its finding on explanations that are known."""

import numpy as np
import pytest

from winnow.evaluate.lime_images import RegionExplanation, explain
from winnow.evaluate.planted_mark import mark_found, mark_pixels, marked
from winnow.evaluate.segments import grid


def explanation(weight):
    return RegionExplanation(np.array(weight, float), 0.0, 1.0, 1.0, 0, 10.0)


def test_the_mark_is_a_checked_square_one_pixel_off_the_corner_of_a_copy():
    pixels = np.full((2, 32, 40, 3), 100, np.uint8)
    found = marked(pixels)
    inside = mark_pixels(32, 40)
    assert inside.sum() == 16 and inside[1:5, 1:5].all()
    assert (found[:, ~inside] == 100).all() and (pixels == 100).all() and found.dtype == np.uint8
    assert found[0, 1:5, 1:5, 0].tolist() == [[0, 255, 0, 255], [255, 0, 255, 0]] * 2
    assert mark_pixels(8, 8).sum() == 4


def test_a_mark_is_found_where_half_of_it_is_among_the_highest_positive_weights():
    labels = np.zeros((32, 32), np.int32)
    labels[:, 2:] = 1  # a quarter of the mark's columns 1 to 4 is in region 0
    labels[16:, 2:] = 2
    cases = [([1, 3, 2], 1, True), ([1, 0.5, 2], 1, False), ([1, 0.5, 2], 3, True), ([1, -3, -2], 3, False)]
    for weight, top, expected in cases:
        assert mark_found([(labels, explanation(weight))], top) == [expected]
    assert mark_found([None, (labels, explanation([1, 3, 2]))], 1) == [True]
    labels[:, 2] = 0  # now exactly half
    assert mark_found([(labels, explanation([3, 1, 2]))], 1) == [True]


@pytest.mark.parametrize("looks_at_mark", [True, False])
def test_lime_finds_the_mark_of_a_model_that_goes_by_it_and_of_no_other(looks_at_mark):
    image = marked(np.random.default_rng(0).integers(90, 110, (1, 32, 32, 1), dtype=np.uint8))[0, ..., 0].astype(float)
    inside = mark_pixels(32, 32) if looks_at_mark else mark_pixels(32, 32)[::-1, ::-1]

    def predict(images):
        share = images[:, inside].std(axis=1)
        p = share / (share + 50)
        return np.stack([1 - p, p], axis=1)

    labels = grid(image, 16)
    found = [(labels, explain(predict, image, labels, 1, samples=200))]
    # Where the last corner decides, hiding the mark changes nothing: its region has a weight near 0.
    assert mark_found(found, 1) == [looks_at_mark]
