"""The nearest point against another solver and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

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
