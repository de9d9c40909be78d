"""The nearest point against another solver and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from winnow.evaluate.nearest_point import length, nearest


def by_slsqp(x, weights, least, bounds=None):
    """The same problem by a solver for general smooth problems."""
    result = minimize(
        lambda p: ((p - x) ** 2).sum() / 2,
        x,
        jac=lambda p: p - x,
        constraints={"type": "ineq", "fun": lambda p: weights @ p - least, "jac": lambda p: weights},
        bounds=None if bounds is None else list(zip(*bounds, strict=True)),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return result.x


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_nearest_point_is_that_of_another_solver(seed, m, d):
    generator = np.random.default_rng(seed)
    x, weights = generator.normal(size=d), generator.normal(size=(m, d))
    # A point that meets all constraints with room exists.
    least = weights @ generator.normal(size=d) * 3 - generator.random(m)
    point = nearest(x, weights, least)
    assert (weights @ point >= least - 1e-7).all()
    assert length(point - x) <= length(by_slsqp(x, weights, least) - x) + 1e-6


def test_one_constraint_is_the_projection_on_a_hyperplane():
    x, w = np.array([1.0, -2.0, 0.5]), np.array([0.5, 1.0, -1.0])
    expected = x + (3 - w @ x) / (w @ w) * w
    assert np.allclose(nearest(x, w[None], np.array([3.0])), expected, atol=1e-10)
    assert np.array_equal(nearest(x, w[None], np.array([w @ x - 1])), x)
    l1 = nearest(x, w[None], np.array([3.0]), cost="l1")
    gap = 3 - w @ x
    assert length(l1 - x, "l1") == pytest.approx(gap / np.abs(w).max()) and w @ l1 == pytest.approx(3)


def test_immutable_features_stay_and_bounds_hold():
    x, w, least = np.zeros(3), np.array([[2.0, 1.0, 1.0]]), np.array([4.0])
    frozen = nearest(x, w, least, immutable=np.array([True, False, False]))
    assert np.allclose(frozen, [0, 2, 2], atol=1e-9)
    bounds = np.array([[-1.0, -1, -1], [1, 5, 5]])
    bounded = nearest(x, w, least, bounds=bounds)
    assert np.allclose(bounded, by_slsqp(x, w, least, bounds), atol=1e-6) and bounded[0] == pytest.approx(1)
    assert np.allclose(nearest(x, w, least, cost="l1", bounds=bounds)[0], 1)


@pytest.mark.parametrize("cost", ["l2", "l1"])
def test_what_cannot_be_met_has_no_point(cost):
    x, w = np.zeros(2), np.array([[1.0, 0], [-1.0, 0]])
    assert nearest(x, w, np.array([1.0, 0.5]), cost) is None
    assert nearest(x, w[:1], np.array([1.0]), cost, immutable=np.array([True, False])) is None
    assert nearest(x, w[:1], np.array([3.0]), cost, bounds=np.array([[-2.0, -2], [2, 2]])) is None


def by_epigraph(x, weights, least):
    """The l1 problem with a bound t on each absolute value, both free in sign, as a linear programme of its own."""
    d = len(x)
    eye = np.eye(d)
    above = np.block([[eye, -eye], [-eye, -eye], [-weights, np.zeros_like(weights)]])
    right = np.concatenate([x, -x, -least])
    free = [(None, None)] * 2 * d
    return linprog(np.r_[np.zeros(d), np.ones(d)], A_ub=above, b_ub=right, bounds=free, method="highs").fun


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_in_l1_it_is_as_near_as_another_programme_says(seed, m, d):
    generator = np.random.default_rng(seed)
    x, weights = generator.normal(size=d), generator.normal(size=(m, d))
    least = weights @ generator.normal(size=d) * 3 - generator.random(m)
    point = nearest(x, weights, least, cost="l1")
    assert (weights @ point >= least - 1e-7).all()
    assert length(point - x, "l1") == pytest.approx(by_epigraph(x, weights, least), abs=1e-7)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_the_scale_of_the_problem_does_not_matter(scale):
    w, least = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([1.0, 0.5])
    plain = nearest(np.zeros(2), w, least)
    assert np.allclose(plain, by_slsqp(np.zeros(2), w, least), atol=1e-6)
    assert np.allclose(nearest(np.zeros(2), w, scale * least) / scale, plain, atol=1e-9)
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert nearest(np.zeros(2), opposite, scale * np.array([1.0, 0.5])) is None


@pytest.mark.parametrize("cost", ["l2", "l1"])
def test_a_lower_bound_and_a_frozen_feature_bind_too(cost):
    x, w = np.array([1.0, 1.0, 1.0]), np.array([[-1.0, -2.0, -1.0]])
    bounds = np.array([[0.5, 0.25, -9.0], [9.0, 9.0, 9.0]])
    found = nearest(x, w, np.array([-1.0]), cost, immutable=np.array([True, False, False]), bounds=bounds)
    # With the first at 1, 2 b + c = 0 is to be met from (1, 1), and b stops at a quarter.
    assert found == pytest.approx([1.0, 0.25, -0.5], abs=1e-9)


def test_lengths_of_many_moves_by_hand():
    moves = np.array([[[3.0, -4.0], [0.0, 2.0]], [[-1.0, 0.0], [5.0, 12.0]], [[0.0, 0.0], [-8.0, 6.0]]])
    assert length(moves).tolist() == [[5.0, 2.0], [1.0, 13.0], [0.0, 10.0]]
    assert length(moves, "l1").tolist() == [[7.0, 2.0], [1.0, 17.0], [0.0, 14.0]]


def test_a_point_on_the_border_stays_and_constraints_that_are_met_already_do_no_harm():
    x, w = np.array([1.0, 2.0]), np.array([[1.0, 1.0], [1.0, 0.0]])
    same = nearest(x, w, np.array([3.0, 1.0]))
    assert np.array_equal(same, x) and same is not x
    assert np.allclose(nearest(x, w, np.array([5.0, 1.0])), [2, 3], atol=1e-10)  # the second is met with nothing left


def test_what_is_returned_meets_its_constraints_however_nearly_they_exclude_each_other():
    met = []
    for gap in np.logspace(-1, -8, 60):
        w, least = np.array([[1.0, 0.0], [-1.0, gap]]), np.array([1.0, 0.5])
        with np.errstate(divide="raise", invalid="raise"):
            found = nearest(np.zeros(2), w, least)
        met.append(found is not None)
        assert found is None or (w @ found >= least - 1e-6).all()
    assert met[0] and not met[-1]
    with np.errstate(divide="raise", invalid="raise"):
        assert nearest(np.zeros(2), np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1.0, 1.0])) is None
