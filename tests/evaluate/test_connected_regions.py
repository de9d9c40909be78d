"""Regions are connected as a flood fill finds them, and colours are those of scikit-image."""

import numpy as np
import skimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.evaluate.regions import assert_regions
from winnow.evaluate.connected_regions import calm, colours, connected

SPECKLED = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(32, 32)), 2)


def pieces_by_hand(labels):
    """Flood fill, pixel by pixel."""
    h, w = labels.shape
    found = -np.ones((h, w), int)
    count = 0
    for start in np.ndindex(h, w):
        if found[start] >= 0:
            continue
        found[start], todo = count, [start]
        while todo:
            i, j = todo.pop()
            for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if 0 <= a < h and 0 <= b < w and found[a, b] < 0 and labels[a, b] == labels[i, j]:
                    found[a, b] = count
                    todo.append((a, b))
        count += 1
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0, 2, 5, 12]))
def test_pieces_are_those_of_a_flood_fill_and_small_ones_are_merged(seed, kinds, smallest):
    labels = np.random.default_rng(seed).integers(0, kinds, (9, 11))
    assert (connected(labels) == pieces_by_hand(labels)).all()
    merged = connected(labels, smallest)
    assert_regions(merged, (9, 11))
    sizes = np.bincount(merged.ravel())
    assert len(sizes) == 1 or sizes.min() >= smallest
    for piece in range(pieces_by_hand(labels).max() + 1):  # no piece is torn
        assert len(np.unique(merged[pieces_by_hand(labels) == piece])) == 1


def test_a_small_piece_goes_to_the_neighbour_with_most_edges():
    labels = np.array([[0, 0, 0, 1], [0, 2, 0, 1], [0, 0, 1, 1]])
    assert connected(labels, 2).tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1]]
    row = np.array([[0, 0, 0, 2, 1, 1, 1]])
    assert connected(row, 2).tolist() == [[0, 0, 0, 0, 1, 1, 1]]  # of equal borders the earlier piece


def test_colours_are_the_image_s_own_range_or_cielab():
    image = SPECKLED
    low, high = image.min(), image.max()
    assert np.allclose(colours(image)[..., 0], (image - low) / (high - low))
    assert np.allclose(colours(300 * image + 7), colours(image))
    assert (colours(np.full((4, 4), 3)) == 0).all()
    rgb = np.random.default_rng(0).random((8, 9, 3))
    rgb[0, 0], rgb[0, 1] = 0, 1  # the full range, so that nothing is rescaled
    rgb[0, 2] = 0.02  # the dark, linear part of the curves
    assert np.allclose(colours(rgb) * 100, skimage.color.rgb2lab(rgb), atol=1e-3)


def test_medians_take_speckle_out_and_leave_channels_apart():
    image = np.zeros((5, 5, 3))
    image[2, 2, 0] = 9
    image[..., 2] = 4
    assert (calm(image)[..., 0] == 0).all() and (calm(image)[..., 2] == 4).all()
    assert (calm(SPECKLED) == ndimage.median_filter(SPECKLED, 3)).all()
