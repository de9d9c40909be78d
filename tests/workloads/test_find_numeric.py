"""Numeric functions are drawn within their bounds, keep their meaning in code and words, and are corrupted as told."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from winnow.workloads import find_numeric as find
from winnow.workloads.find_numeric import EDGE, FAMILIES

DRAWN = [name for name in FAMILIES if name != "network"]
seeds = st.integers(0, 2**32)


def numbers_of(tree):
    """All numbers of a tree, from left to right."""
    if isinstance(tree, list):
        return [number for part in tree for number in numbers_of(part)]
    return [] if isinstance(tree, str) else [tree]


@given(st.sampled_from(DRAWN), seeds)
def test_atoms_are_of_their_family_with_tenths_and_never_a_constant_where_they_should_not_be(name, seed):
    tree = find.draw_atom(name, np.random.default_rng(seed))
    assert tree[0] == name
    assert all(number == round(number, 1) and str(number) != "-0.0" for number in numbers_of(tree))
    # The number that scales what is not constant is away from 0.
    scale = {"polynomial": tree[-1], "rational": tree[1][-1] if name == "rational" else 1}.get(name, tree[1])
    assert scale != 0
    if name == "rational":
        assert len(tree[2]) == len(tree[1]) + 1  # it falls to 0 far away
    if name == "rectangle":
        assert -100 <= tree[2] < tree[3] <= EDGE
    if name in ("square_wave", "gaussian"):
        assert (tree[2] if name == "square_wave" else tree[3]) > 0


SCALE, SLOPE, SHIFT = ((0.1, 30.0), True), ((0.1, 10.0), True), ((-30.0, 30.0), False)
COEFFICIENT, LEADING = ((-5.0, 5.0), False), ((0.1, 5.0), True)
# The ranges that the paper publishes: of a number, or of its distance from 0 where it has either sign and is not 0.
RANGES = {
    "constant": [SCALE],
    "linear": [SLOPE, SHIFT],
    "ceil": [SLOPE, SHIFT],
    "floor": [SLOPE, SHIFT],
    "absolute": [SLOPE, SHIFT, SHIFT],
    "root": [SLOPE, SHIFT, SHIFT],
    "logarithm": [SLOPE, SHIFT, SHIFT],
    "step": [SLOPE, SHIFT, SHIFT],
    "reciprocal": [SLOPE, SHIFT, SHIFT],
    "relu": [SLOPE, ((-1.0, 1.0), False), SHIFT, SHIFT],
    "tanh": [SCALE, ((0.1, 2.0), True), SHIFT, SHIFT],
    "sin": [SCALE, ((0.1, 3.0), False), ((-3.0, 3.0), False), SHIFT],
    "cos": [SCALE, ((0.1, 3.0), False), ((-3.0, 3.0), False), SHIFT],
    "gaussian": [SCALE, ((-50.0, 50.0), False), ((1.0, 10.0), False), SHIFT],
    "rectangle": [SCALE, ((-100.0, 60.0), False), ((5.0, 60.0), False), SHIFT],  # with its length for its end
    "square_wave": [SCALE, ((5.0, 60.0), False), ((0.0, 60.0), False), SHIFT],
}


def assert_fills(numbers, low, high, signed=False):
    """Numbers, some thousand of them, lie in a range and come near to both its ends."""
    numbers = np.asarray(numbers)
    if signed:
        assert 0.45 < (numbers > 0).mean() < 0.55
        numbers = np.abs(numbers)
    near = 0.005 * (high - low) + 1e-9
    assert low - 1e-9 <= numbers.min() <= low + near and high - near <= numbers.max() <= high + 1e-9


@pytest.mark.parametrize("name", RANGES)
def test_numbers_fill_their_published_ranges(name):
    generator = np.random.default_rng(1)
    drawn = np.array([find.draw_atom(name, generator)[1:] for _ in range(2000)])
    if name == "rectangle":
        drawn[:, 2] -= drawn[:, 1]
    assert drawn.shape[1] == len(RANGES[name])
    for column, ((low, high), signed) in zip(drawn.T, RANGES[name], strict=True):
        assert_fills(column, low, high, signed)


def test_polynomials_are_of_order_two_to_five_and_rationals_of_none_to_four_over_one_more():
    generator = np.random.default_rng(1)
    polynomials = [find.draw_atom("polynomial", generator)[1:] for _ in range(2000)]
    rationals = [find.draw_atom("rational", generator)[1:] for _ in range(2000)]
    assert {len(numbers) - 1 for numbers in polynomials} == {2, 3, 4, 5}
    assert {(len(top) - 1, len(low) - 1) for top, low in rationals} == {(n, n + 1) for n in range(5)}
    for numbers in (polynomials, [top for top, _ in rationals], [low for _, low in rationals]):
        assert_fills([n for line in numbers for n in line[:-1]], *COEFFICIENT[0])
        assert_fills([line[-1] for line in numbers], *LEADING[0], signed=True)


def test_every_family_is_drawn_alone_and_the_piecewise_ones_together():
    generator = np.random.default_rng(1)
    alone = [find.draw_tree(False, generator)[0] for _ in range(2000)]
    assert set(alone) == {*RANGES, "polynomial", "rational"} - {"ceil", "floor"}
    together = [find.draw_tree(True, generator) for _ in range(2000)]
    assert {part[0] for tree in together for part in tree[1:]} == {
        *("linear", "polynomial", "step", "relu", "constant", "ceil", "floor", "rectangle", "square_wave")
    }
    assert 0.45 < np.mean([tree[0] == "sum" for tree in together]) < 0.55


@given(seeds, st.booleans())
def test_a_tree_means_the_same_as_code_and_as_arrays_and_is_told_with_all_its_numbers(seed, composed):
    tree = find.draw_tree(composed, np.random.default_rng(seed))
    scope = {"math": math}
    exec(find.source(tree), scope)
    x = np.concatenate([np.random.default_rng(seed).uniform(-EDGE, EDGE, 20), np.round(numbers_of(tree)[:3], 1)])
    expected = [scope["f"](float(point)) for point in x]
    np.testing.assert_allclose(find.values(tree, x), expected, rtol=1e-9, atol=1e-9)
    told = find.describe(tree)
    assert [float(n) for n in re.findall(r"-?\d+\.?\d*(?:e[+-]\d+)?", told)] == pytest.approx(numbers_of(tree))
    names = [part[0] for part in tree[1:]] if composed else [tree[0]]
    assert all(f"a {name.replace('_', ' ')} function" in told for name in names)
    assert told.startswith(f"the {tree[0]} of") == composed


def test_sums_and_products_are_of_their_parts_also_where_one_is_not_defined():
    first, second = ["root", 2.0, 1.0, 0.5], ["linear", 3.0, -1.0]
    x = np.array([0.0, 1.0, 5.0])
    a, b = np.array([np.nan, 0.5, 4.5]), 3 * x - 1
    np.testing.assert_array_equal(find.values(["sum", first, second], x), a + b)
    np.testing.assert_array_equal(find.values(["product", first, second], x), a * b)
    assert find.values(second, np.array([[1, 2]])).tolist() == [[2.0, 5.0]]  # shapes stay, whole numbers are taken


@given(st.sampled_from(DRAWN), seeds)
def test_a_stretch_is_replaced_by_the_mean_and_lies_where_it_says(name, seed):
    generator = np.random.default_rng(seed)
    tree = find.draw_atom(name, generator)
    if find.spoiled(tree):
        return
    told = find.corrupted(tree, generator)
    points = find.half_integers()
    known = find.values(tree, points)
    assert told["level"] == pytest.approx(np.nanmean(known), abs=0.05 + 1e-9 * abs(told["level"]))
    inside = (points > told["low"]) & (points < told["high"])
    assert inside.any() and not inside.all()
    assert (told["side"] == "below") == bool(inside[0]) and (told["side"] == "above") == bool(inside[-1])
    truth = find.truth({"tree": tree, "corruption": told}, points)
    np.testing.assert_array_equal(truth[~inside], known[~inside])
    assert (truth[inside] == told["level"]).all()
    # The code has the same stretch, its ends outside of it.
    scope = {"math": math}
    exec(find.source(tree, told), scope)
    middle = float(points[inside][0])
    assert scope["f"](middle) == told["level"]
    for end in (told["low"], told["high"]):
        if abs(end) <= EDGE:
            assert scope["f"](end) == pytest.approx(float(find.values(tree, np.array([end]))[0]), nan_ok=True)


def test_sides_of_stretches_come_in_their_shares():
    generator = np.random.default_rng(0)
    drawn = [find.corrupted(["linear", 1.0, 0.0], generator)["side"] for _ in range(2000)]
    for side, share in find.SIDES.items():
        assert drawn.count(side) / 2000 == pytest.approx(share, abs=4 * (share * (1 - share) / 2000) ** 0.5)
    assert sum(find.SIDES.values()) == pytest.approx(1) == sum(find.NOISES.values())


def test_stretches_fill_the_places_and_lengths_that_the_paper_says():
    generator = np.random.default_rng(0)
    drawn = [find.corrupted(["linear", 1.0, 0.0], generator) for _ in range(6000)]
    ends = {side: np.array([(d["low"], d["high"]) for d in drawn if d["side"] == side]) for side in find.SIDES}
    for side, (low, high) in {"below": (-118.0, -64.0), "above": (64.0, 118.0)}.items():
        assert_fills(ends[side][:, 1 if side == "below" else 0], low, high)
    assert (ends["below"][:, 0] < -EDGE).all() and (ends["above"][:, 1] > EDGE).all()
    assert_fills(ends["inside"][:, 0], -120.0, 95.0)
    lengths = ends["inside"][:, 1] - ends["inside"][:, 0]
    assert_fills(lengths, 5.0, 25.0)
    # In tenths, so that a description can name them; nine of ten are no whole numbers.
    for told in (ends["inside"][:, 0], lengths, ends["below"][:, 1], ends["above"][:, 0]):
        np.testing.assert_allclose(told * 10, np.round(told * 10), atol=1e-9)
        assert 0.85 < (abs(told - np.round(told)) > 0.05).mean() < 0.95
    assert str(find.corrupted(["constant", -0.01], generator)["level"]) == "0.0"


def test_noise_is_of_its_law_and_drawn_afresh_at_each_call():
    x, generator = np.zeros(4000), np.random.default_rng(0)
    spec = {"tree": ["linear", 1.0, 3.0], "corruption": None}
    noise = {name: find.answers(spec | {"noise": name}, x, generator) - 3 for name in (None, *find.NOISES)}
    assert not noise[None].any()
    assert stats.kstest(noise["uniform"], stats.uniform(-1, 2).cdf).pvalue > 0.001
    assert stats.kstest(noise["normal"], stats.norm.cdf).pvalue > 0.001
    counts = np.bincount(noise["poisson"].astype(int), minlength=5)
    expected = len(x) * stats.poisson(1).pmf(np.arange(4))
    expected = np.append(expected, len(x) - expected.sum())
    assert stats.chisquare([*counts[:4], counts[4:].sum()], expected).pvalue > 0.001
    again = find.answers(spec | {"noise": "normal"}, x, generator) - 3
    assert abs(np.corrcoef(again, noise["normal"])[0, 1]) < 0.1


def test_answers_in_a_stretch_spread_a_tenth_about_its_level_and_nowhere_else():
    spec = {"tree": ["linear", 1.0, 0.0], "noise": None, "corruption": {"low": 0.0, "high": 2.0, "level": 7.0}}
    x = np.array([-1.0, 0.0, 1.0, 2.0])
    found = np.array([find.answers(spec, x, np.random.default_rng(seed)) for seed in range(2000)])
    assert (found[:, [0, 1, 3]] == x[[0, 1, 3]]).all()
    assert found[:, 2].mean() == pytest.approx(7, abs=0.01) and found[:, 2].std() == pytest.approx(0.1, rel=0.1)


def test_points_of_scoring_are_the_half_integers():
    points = find.half_integers()
    assert len(points) == 256 and (points[0], points[-1]) == (-127.5, 127.5) and (np.diff(points) == 1).all()


@pytest.mark.parametrize("name", ["sin", "rectangle", "logarithm", "polynomial"])
def test_a_network_is_the_least_squares_fit_of_its_units(name):
    """Beside numpy's own solver on the units as they stand: a constant, x, and a rectified unit a knot."""
    tree = find.draw_atom(name, np.random.default_rng(4))
    made = find.approximated(tree)
    x = np.linspace(-EDGE, EDGE, find.SAMPLES)
    y = find.values(tree, x)
    seen = np.isfinite(y)
    _, _, _, knots, weights = made
    assert len(knots) == len(weights) == 63 and find.SAMPLES == 10_000  # with the slope, 64 units
    units = np.column_stack([np.ones_like(x), x, np.maximum(0, x[:, None] - np.array(knots))])[seen]
    best, *_ = np.linalg.lstsq(units, y[seen], rcond=None)
    ours, theirs = (np.square(fit - y[seen]).sum() for fit in (find.values(made, x[seen]), units @ best))
    assert theirs * (1 - 1e-9) <= ours <= theirs * (1 + 1e-6) + 1e-9 * np.square(y[seen]).sum()


def test_what_nothing_can_be_scored_against_is_spoiled():
    assert find.spoiled(["linear", 0.0, 0.0]) and find.spoiled(["root", 1.0, 100.0, 0.0])
    assert not find.spoiled(["constant", 0.1]) and not find.spoiled(["root", 1.0, 0.0, 0.0])
    # 64 points are enough, and one of them may be all that is not 0.
    assert not find.spoiled(["root", 0.0, 64.0, 1.0]) and find.spoiled(["root", 0.0, 64.6, 1.0])
    assert not find.spoiled(["rectangle", 1.0, 0.0, 1.0, 0.0])
