"""Scores are those of the definition counted by hand, of oracles, of the published loop, and of areas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from winnow.errors import InputError
from winnow.evaluate.prototype_scores import consistency, hits_at, moves, parts_hit, peaks, perturb, stability

SIZE = (64, 48)


def noise(seed=0):
    return np.random.default_rng(seed)


def spot_maps(cells, grid):
    """Maps that are 1 at one cell each: cells int[n, J, 2]."""
    n, j = cells.shape[:2]
    maps = torch.zeros(n, j, *grid)
    maps[torch.arange(n)[:, None], torch.arange(j)[None], cells[..., 0], cells[..., 1]] = 1
    return maps


def test_a_case_counted_by_hand():
    """Two images, one prototype, two parts: it hits part 0 in both, part 1 is hidden in the second."""
    hits = np.array([[[True, True]], [[True, False]]])
    visible = np.array([[True, True], [True, False]])
    of, labels = np.array([0]), np.array([0, 0])
    found = consistency(hits, visible, of, labels)
    assert found.value == 100 and found.per_prototype.tolist() == [1.0] and found.part.tolist() == [0]
    perturbed = np.array([[[True, False]], [[True, False]]])
    assert stability(hits, perturbed, of, labels).value == 50
    assert consistency(perturbed, visible, of, labels, threshold=1.01).value == 0


def published_loop(hits, visible, of, labels, threshold):
    """The published procedure, prototype by prototype, over part vectors that are already known."""
    verdicts = []
    for j in range(len(of)):
        rows = [i for i in range(len(labels)) if labels[i] == of[j]]
        if not rows:
            continue
        hit, shown = np.zeros(hits.shape[2]), np.zeros(hits.shape[2])
        for i in rows:
            hit += hits[i, j]
            shown += visible[i]
        verdicts.append(any(h / max(1, s) >= threshold for h, s in zip(hit, shown, strict=True)))
    return 100 * np.mean(verdicts)


@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.7, 0.8, 0.9]))
@settings(max_examples=40, deadline=None)
def test_consistency_and_stability_are_loops_over_prototypes_and_images(seed, threshold):
    random = noise(seed)
    of, labels = np.array([0, 0, 1, 2, 2]), random.integers(0, 3, 12)
    visible = random.random((12, 4)) < 0.7
    hits = (random.random((12, 5, 4)) < 0.7) & visible[:, None]
    other = (random.random((12, 5, 4)) < 0.9) & hits
    assert consistency(hits, visible, of, labels, threshold).value == pytest.approx(
        published_loop(hits, visible, of, labels, threshold)
    )
    for only_hits in (False, True):
        shares = []
        for j in range(5):
            rows = [i for i in range(12) if labels[i] == of[j] and (hits[i, j].any() or not only_hits)]
            if rows:
                shares.append(np.mean([(hits[i, j] == other[i, j]).all() for i in rows]))
        if shares:
            found = stability(hits, other, of, labels, only_hits=only_hits)
            assert found.value == pytest.approx(100 * np.mean(shares))
            assert found.low - 1e-9 <= found.high
    order, images = random.permutation(5), random.permutation(12)
    shuffled = consistency(hits[images][:, order], visible[images], of[order], labels[images], threshold)
    assert shuffled.value == pytest.approx(consistency(hits, visible, of, labels, threshold).value)


def test_an_oracle_is_perfect_even_where_its_part_is_hidden():
    random = noise(1)
    n, of = 40, np.repeat(np.arange(4), 3)
    labels, xy = np.arange(n) % 4, np.stack([random.integers(4, 44, (n, 5)), random.integers(4, 60, (n, 5))], 2)
    visible = random.random((n, 5)) < 0.7
    at = xy[:, random.integers(0, 5, 12)][..., ::-1]  # row, column of one part for each prototype
    hits = hits_at(at, xy.astype(float), visible, 2)
    assert consistency(hits, visible, of, labels).value == 100
    assert stability(hits, hits, of, labels).value == 100
    assert consistency(hits, visible, of, labels).low == 100


def test_random_peaks_hit_a_part_as_often_as_its_window_is_large():
    random = noise(2)
    n, half = 4000, 5
    xy = np.full((n, 1, 2), [24.0, 32.0])
    at = np.stack([random.integers(0, 64, (n, 1)), random.integers(0, 48, (n, 1))], 2)
    hits = hits_at(at, xy, np.ones((n, 1), bool), half)
    expected = (2 * half + 1) ** 2 / (64 * 48)
    assert abs(hits.mean() - expected) < 3 * (expected * (1 - expected) / n) ** 0.5


def opencv_cubic(length, target):
    """float64[target, length]: OpenCV's INTER_CUBIC along one axis, tap by tap (coefficient -0.75, border repeated)."""
    matrix = np.zeros((target, length))
    for i in range(target):
        at = (i + 0.5) * length / target - 0.5
        start = int(np.floor(at))
        for tap in range(-1, 3):
            d = abs(at - start - tap)
            weight = 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[i, min(max(start + tap, 0), length - 1)] += weight
    return matrix


@pytest.mark.parametrize("grid", [(4, 4), (6, 6), (7, 7), (16, 12)])
def test_peaks_and_hits_are_those_of_the_published_loop_with_its_interpolation(grid):
    """The evaluation of EvalProtoPNet, one map after another: cv2.resize, argmax, a box of half pixels, parts in it."""
    random, half, n, j = noise(5), 5, 40, 10
    y, x = np.mgrid[: grid[0], : grid[1]]
    centre = random.random((n, j, 2, 1, 1)) * [[[grid[0] - 1]], [[grid[1] - 1]]]
    bumps = np.exp(-((y - centre[:, :, 0]) ** 2 + (x - centre[:, :, 1]) ** 2) / 2)
    maps = (bumps + 0.05 * random.random(bumps.shape)).astype(np.float32)
    xy = np.stack([random.integers(0, SIZE[1], (n, 6)), random.integers(0, SIZE[0], (n, 6))], 2).astype(float)
    visible = random.random((n, 6)) < 0.8
    found, (hits, seen) = (
        peaks(torch.from_numpy(maps), SIZE),
        parts_hit(torch.from_numpy(maps), xy, visible, half, SIZE),
    )
    down, right = opencv_cubic(grid[0], SIZE[0]), opencv_cubic(grid[1], SIZE[1])
    same_peak, same_hits = [], []
    for i in range(n):
        for k in range(j):
            row, column = np.unravel_index((down @ maps[i, k] @ right.T).argmax(), SIZE)
            same_peak.append((row, column) == tuple(found[i, k]))
            top, bottom = max(0, row - half), min(SIZE[0] - 1, row + half)
            left, end = max(0, column - half), min(SIZE[1] - 1, column + half)
            for part in range(6):
                px, py = xy[i, part]
                inside = visible[i, part] and top <= py <= bottom and left <= px <= end
                same_hits.append(inside == hits[i, k, part])
    assert np.mean(same_peak) >= 0.99 and np.mean(same_hits) >= 0.995
    assert np.array_equal(seen, visible)


def test_x_runs_right_and_y_down():
    cells = np.array([[[0, 7]]])
    maps = spot_maps(cells, (8, 8))
    at = peaks(maps, (64, 64))[0, 0]
    assert at[0] < 8 and at[1] >= 56
    xy = np.array([[[60.0, 3.0], [3.0, 60.0]]])
    hits, _ = parts_hit(maps, xy, np.ones((1, 2), bool), 6, (64, 64))
    assert hits[0, 0].tolist() == [True, False]


@given(st.integers(0, 10**6), st.integers(-6, 6), st.integers(-6, 6))
@settings(max_examples=40, deadline=None)
def test_moving_image_and_points_together_changes_no_hit_away_from_borders(seed, down, right):
    random = noise(seed)
    at, xy = random.integers(10, 30, (5, 3, 2)), random.integers(10, 30, (5, 4, 2)).astype(float)
    visible = random.random((5, 4)) < 0.7
    moved = hits_at(at + [down, right], xy + [right, down], visible, 4)
    assert np.array_equal(moved, hits_at(at, xy, visible, 4))


def test_the_window_is_closed_and_clipped_by_the_image():
    at, seen = np.array([[[10, 10]]]), np.ones((1, 1), bool)
    for offset, inside in ((0, True), (3, True), (3.5, False), (4, False)):
        for axis in (0, 1):
            for sign in (-1, 1):
                xy = np.array([[[10.0, 10.0]]])
                xy[0, 0, axis] += sign * offset
                assert hits_at(at, xy, seen, 3)[0, 0, 0] == inside
    outside = np.array([[[-1.0, 5.0], [48.0, 5.0], [5.0, 64.0], [47.0, 63.0], [np.nan, 5.0]]])
    _, visible = parts_hit(torch.rand(1, 1, 4, 4), outside, np.ones((1, 5), bool), 3, SIZE)
    assert visible[0].tolist() == [False, False, False, True, False]


def test_a_constant_map_hits_nothing():
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 1, 2, 2] = 1
    assert peaks(maps, SIZE)[0, 0].tolist() == [-1, -1]
    wanted = np.array([[False, True]])
    assert np.array_equal(peaks(maps.flip(1), SIZE, ~wanted)[0, 0], peaks(maps, SIZE)[0, 1])
    assert (peaks(maps, SIZE, wanted)[0, 0] == -1).all() and (peaks(maps, SIZE, ~wanted | False) == -1).all()
    hits, _ = parts_hit(maps, np.array([[[0.0, 0.0]]]), np.ones((1, 1), bool), 60, SIZE)
    assert hits[0, :, 0].tolist() == [False, True]


def test_classes_without_images_are_left_out_and_bad_input_is_refused():
    hits, visible = np.ones((2, 3, 1), bool), np.ones((2, 1), bool)
    found = consistency(hits, visible, np.array([0, 1, 2]), np.array([0, 0]))
    assert found.value == 100 and np.isnan(found.per_prototype).tolist() == [False, True, True]
    with pytest.raises(InputError, match="none has an image"):
        consistency(hits, visible, np.array([1, 1, 2]), np.array([0, 0]))
    with pytest.raises(InputError, match="none has an image"):
        stability(hits, hits, np.array([1, 1, 2]), np.array([0, 0]))
    with pytest.raises(InputError, match="half: is -1"):
        parts_hit(torch.rand(2, 3, 2, 2), np.zeros((2, 1, 2)), visible, -1, SIZE)
    with pytest.raises(InputError, match="do not belong"):
        parts_hit(torch.rand(2, 3, 2, 2), np.zeros((1, 1, 2)), visible, 1, SIZE)
    with pytest.raises(InputError, match="NaN or infinite"):
        peaks(torch.full((1, 1, 2, 2), torch.nan), SIZE)


def test_perturbations_are_one_set_of_bounded_changes():
    x = torch.zeros(50, 3, 8, 8)
    gauss = perturb(x, "gauss", seed=1)
    assert torch.equal(gauss, perturb(x, "gauss", seed=1)) and not torch.equal(gauss, perturb(x, "gauss", seed=2))
    assert float(gauss.abs().max()) == 0.25 and abs(float(gauss.mean())) < 0.01
    clipped = stats.norm.expect(lambda z: np.clip(0.2 * z, -0.25, 0.25) ** 2)
    assert float(gauss.var()) == pytest.approx(clipped, rel=0.03)
    assert torch.equal(perturb(x, "gauss", std=0.0), x)
    bright = perturb(x, "brightness")
    assert torch.equal(bright, bright[:, :1, :1, :1].expand_as(x)) and len(bright[:, 0, 0, 0].unique()) > 10
    ramp = torch.arange(64.0).view(1, 1, 8, 8).expand(40, 1, 8, 8)
    moved = perturb(ramp, "shift") - ramp
    middle = {float(value) for value in moved[:, 0, 3, 3]}
    assert middle == {-8.0, 8.0, -1.0, 1.0}
    with pytest.raises(InputError, match="use gauss"):
        perturb(x, "blur")


def test_a_peak_in_the_first_pixel_is_a_peak_and_a_window_of_no_width_holds_its_point():
    maps = torch.zeros(1, 1, 64, 48)
    maps[0, 0, 0, 0] = 1
    assert peaks(maps, SIZE)[0, 0].tolist() == [0, 0]
    hits, _ = parts_hit(maps, np.array([[[0.0, 0.0], [1.0, 0.0]]]), np.ones((1, 2), bool), 0, SIZE)
    assert hits[0, 0].tolist() == [True, False]
    broken = maps.clone()
    broken[0, 0, 3, 3] = torch.inf
    with pytest.raises(InputError, match="NaN or infinite"):
        peaks(broken, SIZE)
    with pytest.raises(InputError, match="do not belong"):
        parts_hit(maps, np.zeros((1, 2, 2)), np.ones((2, 2), bool), 1, SIZE)


def test_the_best_part_is_named_and_the_usual_threshold_is_four_fifths():
    hits = np.zeros((10, 3, 2), bool)
    hits[:8, 0, 1] = hits[:7, 1, 0] = hits[:3, 1, 1] = True
    found = consistency(hits, np.ones((10, 2), bool), np.zeros(3, int), np.zeros(10, int))
    assert found.part.tolist() == [1, 0, -1] and found.per_prototype.tolist() == [0.8, 0.7, 0.0]
    assert found.value == pytest.approx(100 / 3)
    steady = stability(hits, hits, np.zeros(3, int), np.zeros(10, int))
    assert steady.part.tolist() == [1, 0, -1]
    other = hits.copy()
    other[0, 0] = False
    # Images without a hit count, unless they are left out.
    assert stability(hits, other, np.zeros(3, int), np.zeros(10, int)).per_prototype.tolist() == [0.9, 1.0, 1.0]
    only = stability(hits, other, np.zeros(3, int), np.zeros(10, int), only_hits=True).per_prototype
    assert only[:2].tolist() == [7 / 8, 1.0] and np.isnan(only[2])


def test_intervals_are_those_of_the_binomial_distribution():
    """Of 100 prototypes half hit always, half never; of 100 images half agree: 50 % with a deviation of 5."""
    hits = np.zeros((8, 100, 1), bool)
    hits[:, ::2] = True
    found = consistency(hits, np.ones((8, 1), bool), np.zeros(100, int), np.zeros(8, int))
    low, high = 100 * stats.binom.ppf([0.025, 0.975], 100, 0.5) / 100
    assert (found.low, found.high) == (pytest.approx(low, abs=1.5), pytest.approx(high, abs=1.5))
    of_images = np.zeros((100, 1, 1), bool)
    moved = of_images.copy()
    moved[::2] = True
    steady = stability(of_images, moved, np.zeros(1, int), np.zeros(100, int))
    assert (steady.low, steady.high) == (pytest.approx(low, abs=1.5), pytest.approx(high, abs=1.5))
    # Images are drawn within their classes: each class keeps its number.
    by_class = np.repeat([0, 1], 50)
    split = np.zeros((100, 1, 1), bool)
    split[:50] = True
    every = stability(split, np.zeros_like(split), np.array([0]), by_class)
    assert (every.low, every.high) == (0, 0)


def test_unless_told_the_first_seed_draws():
    random = noise(3)
    of, labels, visible = np.arange(211) % 2, np.arange(30) % 2, np.ones((30, 3), bool)
    hits = random.random((30, 211, 3)) < 0.7
    other = (random.random((30, 211, 3)) < 0.9) & hits
    for score in (
        lambda *seed: consistency(hits, visible, of, labels, 0.75, *seed),
        lambda *seed: stability(hits, other, of, labels, *seed),
    ):
        usual, first = score(), score(0)
        assert (usual.low, usual.high) == (first.low, first.high)
        assert all((usual.low, usual.high) != (told.low, told.high) for told in (score(1), score(-1)))
    x = torch.zeros(20, 3, 4, 4)
    assert torch.equal(perturb(x), perturb(x, "gauss", 0.2, 0.25, 0))
    for kind in ("gauss", "brightness"):
        assert torch.equal(perturb(x, kind), perturb(x, kind, seed=0))
        assert not torch.equal(perturb(x, kind), perturb(x, kind, seed=-1))
    assert np.array_equal(moves(20), moves(20, 0)) and not np.array_equal(moves(20), moves(20, -1))
    assert sorted(set(map(tuple, moves(400).tolist()))) == [(-1, 0), (0, -1), (0, 1), (1, 0)]
    assert (
        np.unique(moves(4000), axis=0, return_counts=True)[1] > 850
    ).all()  # each of four alike: 1000 less 5.5 sigma


@pytest.mark.parametrize("which", [0, 4])
def test_each_prototype_is_drawn_as_often_for_the_interval(which):
    """Of five prototypes one hits, always: their number among five draws is binomial, whichever it is."""
    hits = np.zeros((4, 5, 1), bool)
    hits[:, which] = True
    found = consistency(hits, np.ones((4, 1), bool), np.zeros(5, int), np.zeros(4, int))
    assert (found.low, found.high) == (0, pytest.approx(100 * stats.binom.ppf(0.975, 5, 0.2) / 5))


def test_brightness_is_one_clipped_normal_number_for_each_image():
    added = perturb(torch.zeros(4000, 2, 2, 2), "brightness", seed=1)[:, 0, 0, 0]
    assert float(added.abs().max()) == 0.25 and abs(float(added.mean())) < 5 * 0.2 / 4000**0.5
    clipped = stats.norm.expect(lambda z: np.clip(0.2 * z, -0.25, 0.25) ** 2)
    assert float(added.var()) == pytest.approx(clipped, rel=0.06)


def test_peaks_of_many_maps_are_those_of_each_by_itself():
    maps = torch.rand(300, 4, 3, 3, generator=torch.Generator().manual_seed(0))  # more than are resized at once
    maps[7, 2] = 0.5
    found = peaks(maps, (9, 12))
    for i, j in ((0, 0), (7, 2), (255, 3), (256, 0), (299, 3)):
        assert found[i, j].tolist() == peaks(maps[i : i + 1, j : j + 1], (9, 12))[0, 0].tolist()
    nothing = peaks(maps, (9, 12), np.zeros((300, 4), bool))
    assert nothing.shape == (300, 4, 2) and (nothing == -1).all()
