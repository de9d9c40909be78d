"""Regions against scikit-image, the definitions written slowly, and what every segmentation must be."""

import numpy as np
import pytest
import skimage.color
import skimage.segmentation
from scipy import ndimage

from tests.evaluate.regions import assert_regions
from winnow.errors import InputError
from winnow.evaluate.connected_regions import calm, colours, connected
from winnow.evaluate.segments import (
    SEGMENTERS,
    grid,
    match_count,
    quickshift,
    random_cells,
    slic,
    trees,
)


def speckled(seed=0, shape=(32, 32)):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=shape), 2)


def rooms(h=48, w=60, colour=False):
    """A picture of plain areas, so that segmentations have one right answer."""
    rng = np.random.default_rng(1)
    levels = rng.permutation(20).reshape(4, 5) / 19
    image = np.kron(levels, np.ones((h // 4, w // 5)))
    return np.stack([image, 1 - image, image**2], -1) if colour else image


def variation_of_information(a, b):
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a.ravel(), b.ravel()), 1 / a.size)
    given_a, given_b = joint / joint.sum(1, keepdims=True), joint / joint.sum(0, keepdims=True)
    here = joint > 0
    return -(joint[here] * (np.log(given_a[here]) + np.log(given_b[here]))).sum()


@pytest.mark.parametrize("shape", [(32, 32), (20, 45), (32, 32, 1), (24, 30, 3)])
@pytest.mark.parametrize("make", [slic, quickshift, lambda i: grid(i, 17), lambda i: random_cells(i, 17)])
def test_regions_are_connected_and_numbered_as_they_appear(shape, make):
    assert_regions(make(np.random.default_rng(0).normal(size=shape)), shape[:2])


@pytest.mark.parametrize("colour", [False, True])
def test_slic_finds_the_rooms_that_scikit_image_finds(colour):
    image = rooms(colour=colour)
    options = {"channel_axis": -1 if colour else None, "start_label": 0, "min_size_factor": 0.25}
    theirs = skimage.segmentation.slic(image, 20, compactness=10 if colour else 0.1, **options)
    ours = slic(image, 20)
    assert abs(ours.max() - theirs.max()) <= 0.12 * (theirs.max() + 1)
    assert variation_of_information(ours, theirs) < 0.3
    # Both keep plain areas apart.
    truth = np.unique(image.reshape(48 * 60, -1), axis=0, return_inverse=True)[1].reshape(48, 60)
    assert max((truth[ours == k] != truth[ours == k][0]).mean() for k in range(ours.max() + 1)) == 0


def slic_by_hand(image, segments, compactness, iterations):
    """K-means as the paper writes it, each pixel and centre by itself, before pieces are merged."""
    values = colours(image)[..., 0]
    h, w = values.shape
    step = (h * w / segments) ** 0.5
    side = int(round(h / step)), int(round(w / step))
    gy, gx = np.gradient(values)
    gradient = gy**2 + gx**2
    centres = []
    for i in range(side[0]):
        for j in range(side[1]):
            y, x = int((i + 0.5) * h / side[0]), int((j + 0.5) * w / side[1])
            around = [(y, x)] + [
                (min(max(y + a, 0), h - 1), min(max(x + b, 0), w - 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)
            ]
            y, x = min(around, key=lambda p: gradient[p])
            centres.append([values[y, x], float(y), float(x)])
    labels = np.zeros((h, w), int)
    for _ in range(iterations):
        for y in range(h):
            for x in range(w):
                cost = []
                for k, (value, cy, cx) in enumerate(centres):
                    if abs(y - np.rint(cy)) <= np.ceil(step) and abs(x - np.rint(cx)) <= np.ceil(step):
                        colour, place = values[y, x] - value, np.hypot(y - cy, x - cx)
                        cost.append((np.sqrt(colour**2 + (place / step) ** 2 * compactness**2), k))
                labels[y, x] = min(cost)[1]
        for k in range(len(centres)):
            members = labels == k
            if members.any():
                y, x = np.nonzero(members)
                centres[k] = [values[members].mean(), y.mean(), x.mean()]
    return labels


@pytest.mark.parametrize("iterations", [1, 3])
def test_slic_is_the_definition_pixel_by_pixel(iterations):
    image = speckled(3, (20, 25))
    expected = connected(slic_by_hand(image, 20, 0.1, iterations), 0.25 * 25)
    assert (slic(image, 20, 0.1, iterations) == expected).all()


@pytest.mark.parametrize(
    ("shape", "segments", "iterations"), [((13, 17), 9, 2), ((8, 12), 24, 1), ((10, 6), 15, 2), ((6, 9), 54, 1)]
)
@pytest.mark.parametrize("plain", [False, True])
def test_slic_is_the_definition_at_the_borders_and_where_all_is_alike(shape, segments, iterations, plain):
    images = [np.zeros(shape)] if plain else [np.random.default_rng(seed).normal(size=shape) for seed in range(4)]
    smallest = 0.25 * shape[0] * shape[1] / segments
    for image in images:
        expected = connected(slic_by_hand(image, segments, 0.1, iterations), smallest)
        assert (slic(image, segments, 0.1, iterations) == expected).all()


def test_the_usual_settings_are_the_documented_ones():
    image = speckled(6)
    assert (slic(image) == slic(image, 50, 0.1, 10)).all()
    for other in ((51, 0.1, 10), (50, 1.1, 10), (50, 0.1, 9), (49, 0.1, 10), (50, 0.1, 11)):
        assert (slic(image) != slic(image, *other)).any()
    assert (quickshift(image) == quickshift(image, 3, 8, 1, 0)).all() and (
        trees(image) == trees(image, 3, 8, 1, 0)
    ).all()
    wide = 5 * speckled(7)
    for other in ((4, 8, 1), (2, 8, 1), (3, 7, 1), (3, 9, 1), (3, 8, 2), (3, 8, 0)):
        assert (trees(wide) != trees(wide, *other)).any(), other
    assert (trees(np.zeros((20, 20))) == trees(np.zeros((20, 20)), seed=0)).all()
    assert (quickshift(np.zeros((20, 20))) == quickshift(np.zeros((20, 20)), seed=0)).all()


def test_a_scale_is_the_side_of_a_region():
    image, (h, w) = speckled(8, (20, 30)), (20, 30)
    assert (SEGMENTERS["grid"](image, 5.0) == grid(image, h * w / 25)).all()
    assert (SEGMENTERS["slic"](image, 5.0) == slic(image, h * w / 25)).all()
    assert (SEGMENTERS["quickshift"](image, 6.0) == quickshift(image, 2.0, 12.0)).all()


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (3, 4)])
def test_there_may_be_as_many_cells_as_pixels_and_one_line_of_them(shape):
    count = shape[0] * shape[1]
    assert grid(np.zeros(shape), count).ravel().tolist() == list(range(count))
    assert random_cells(np.zeros(shape), count).ravel().tolist() == list(range(count))
    with pytest.raises(InputError, match="segments is 13; give 2 to the 12"):
        grid(np.zeros(shape), 13)


def test_a_number_is_sought_by_halving_the_logarithm_of_the_scale():
    tried = []

    def count_of(scale):
        return max(2, round(400 / scale**2))

    def by_scale(image, scale):
        tried.append(scale)
        return np.arange(400).reshape(20, 20) * count_of(scale) // 400

    found = match_count(by_scale, np.zeros((20, 20)), 40, 0.1)
    low, high, expected, best = np.log(1.5), np.log(10), [], None
    for _ in range(14):
        middle = (low + high) / 2
        expected.append(np.exp(middle))
        count = count_of(np.exp(middle))
        best = count if best is None or abs(count - 40) < abs(best - 40) else best
        if abs(best - 40) <= 1:
            break
        low, high = (middle, high) if count > 40 else (low, middle)
    assert tried == pytest.approx(expected) and found.max() + 1 == best
    tried.clear()
    with pytest.raises(InputError, match="41 regions were asked for and 36 come nearest"):
        match_count(lambda image, scale: by_scale(image, scale) * 0 + grid(image, 36), np.zeros((20, 20)), 41, 0.02)
    assert len(tried) == 14
    kept = match_count(lambda image, scale: grid(image, 36), np.zeros((20, 20)), 40, 0.1)
    assert kept.max() + 1 == 36  # off by all that is allowed


@pytest.mark.parametrize(("kernel", "reach"), [(3, 8), (2, 4), (2, 10), (3, 200)])
@pytest.mark.parametrize("colour", [False, True])
def test_trees_are_those_of_scikit_image(kernel, reach, colour):
    image = np.stack([speckled(i) for i in (2, 3, 4)], -1) if colour else speckled(2)
    features = colours(image) * 100
    theirs = skimage.segmentation.quickshift(
        features, ratio=0.5, kernel_size=kernel, max_dist=reach, convert2lab=False, rng=5
    )
    ours = np.unique(trees(image, kernel, reach, 0.5), return_inverse=True)[1].reshape(theirs.shape)
    # Noise of 1e-5 tells equal densities apart, and no two are equal here.
    assert variation_of_information(ours, theirs) < 1e-9


def trees_by_hand(image, kernel, max_distance, ratio):
    """Each pixel's link by loops over all pixels, followed to its root; no two densities are equal here."""
    values = colours(image)[..., 0] * 100 * ratio
    h, w = values.shape
    reach, places = np.ceil(3 * kernel), [(y, x) for y in range(h) for x in range(w)]

    def apart(a, b):
        return (values[a] - values[b]) ** 2 + (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2

    near = {a: [b for b in places if max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= reach] for a in places}
    density = {a: sum(np.exp(-apart(a, b) / (2 * kernel**2)) for b in near[a]) for a in places}
    link = {}
    for a in places:
        higher = [(apart(a, b), b) for b in near[a] if density[b] > density[a]]
        link[a] = min(higher)[1] if higher and min(higher)[0] <= max_distance**2 else a
    roots = np.zeros((h, w), int)
    for a in places:
        b = a
        while link[b] != b:
            b = link[b]
        roots[a] = b[0] * w + b[1]
    return roots


@pytest.mark.parametrize(
    ("shape", "kernel", "reach"),
    [
        ((5, 6), 3.0, 9.0),
        ((9, 4), 1.5, 4.0),
        ((4, 9), 2.5, 6.0),
        ((6, 8), 0.7, 2.5),
        ((6, 8), 1.2, 0.8),
        ((12, 14), 1.4, 5.0),
    ],
)
def test_trees_are_the_definition_pixel_by_pixel_also_in_small_images(shape, kernel, reach):
    for seed in range(3):
        image = np.random.default_rng(seed).normal(size=shape)
        assert (trees(image, kernel, reach, 0.05) == trees_by_hand(image, kernel, reach, 0.05)).all()


def test_a_link_as_long_as_allowed_is_kept_and_colour_may_count_for_nothing():
    plain, striped = np.zeros((1, 2)), np.array([[0.0, 1.0]])
    assert len(set(trees(plain, 1, 1.0)[0])) == 1 and len(set(trees(plain, 1, 0.999)[0])) == 2
    assert len(set(trees(striped, 1, 1.0, 0)[0])) == 1 and len(set(trees(striped, 1, 1.0)[0])) == 2


def test_quickshift_merges_the_crumbs_of_its_trees():
    image = speckled(4)
    whole = connected(trees(image), 0)
    regions = quickshift(image)
    assert regions.max() < whole.max() and np.bincount(regions.ravel()).min() >= 9
    assert (quickshift(image, 2.0, 6.0) == connected(trees(image, 2.0, 6.0), 4)).all()


def test_equal_densities_are_told_apart_by_the_seed():
    plain = np.zeros((20, 20))
    first, again, other = (quickshift(plain, 2, 3, seed=s) for s in (0, 0, 1))
    assert (first == again).all() and (first != other).any() and (first == quickshift(plain, 2, 3)).all()


@pytest.mark.parametrize(("segments", "rows", "columns"), [(6, 2, 3), (12, 3, 4), (2, 1, 2), (45, 5, 9)])
def test_grids_have_nearly_square_cells(segments, rows, columns):
    labels = grid(np.zeros((30, 44)), segments)
    assert labels.max() + 1 == rows * columns
    sizes = np.bincount(labels.ravel())
    assert sizes.max() <= (30 // rows + 1) * (44 // columns + 1) and sizes.min() >= (30 // rows) * (44 // columns)


def test_random_cells_are_nearest_to_their_points_and_know_nothing_of_the_image():
    labels = random_cells(speckled(), 9, seed=3)
    assert (labels == random_cells(np.zeros((32, 32)), 9, seed=3)).all()
    assert (random_cells(speckled(), 9) == random_cells(speckled(), 9, seed=0)).all()
    assert (labels != random_cells(speckled(), 9, seed=4)).any()
    assert 9 <= labels.max() + 1 <= 11  # a cell may be cut in two where it is thin


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("segments", [20, 30])
def test_counts_are_matched(name, segments):
    labels = match_count(SEGMENTERS[name], calm(speckled(5, (40, 40))), segments, 0.12)
    assert abs(labels.max() + 1 - segments) <= 0.12 * segments


def test_a_number_that_no_scale_gives_is_named():
    with pytest.raises(InputError, match="7 regions were asked for and 6 come nearest"):
        match_count(lambda image, scale: grid(image, 6), np.zeros((20, 20)), 7, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slic(np.zeros((5, 5)), 1), "segments is 1; give 2 to the 25"),
        (lambda: grid(np.zeros((5, 5)), 26), "segments is 26"),
        (lambda: random_cells(np.zeros((5, 5)), 0), "segments is 0"),
        (lambda: match_count(grid, np.zeros((5, 5)), 1), "segments is 1"),
        (lambda: quickshift(np.zeros((5, 5)), 0), "kernel 0"),
        (lambda: quickshift(np.zeros((5, 5)), 1, 0), "max_distance 0"),
        (lambda: quickshift(np.zeros((5, 5)), 1, 1, -1), "ratio -1"),
        (lambda: slic(np.full((5, 5), np.nan), 4), "NaN or infinite pixel"),
        (lambda: slic(np.zeros((5, 5, 4)), 4), r"image has shape \(5, 5, 4\)"),
        (lambda: slic(np.zeros(5), 4), "image has shape"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
