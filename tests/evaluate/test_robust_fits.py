"""Fits by reweighting are scipy's robust minima, plain least squares where residuals are small, and finite always."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from winnow.evaluate._robust_fits import robust_fits


def problems(count, n=40, p=3, seed=0):
    """Columns of size at most 1, and numbers y of which some lie far off."""
    generator = np.random.default_rng(seed)
    columns = generator.uniform(-1, 1, (count, n, p))
    y = columns[0] @ generator.normal(size=p) + 0.05 * generator.normal(size=n)
    y[::7] += 5
    return columns, y


@pytest.mark.parametrize("p", [1, 2, 4])
def test_coefficients_and_costs_are_those_of_scipys_soft_l1(p):
    columns, y = problems(3, p=p)
    found, costs = robust_fits(columns, y, 0.5, 300)
    for c in range(3):
        expected = least_squares(
            lambda b, c=c: y - columns[c] @ b, np.zeros(p), loss="soft_l1", f_scale=0.5, xtol=1e-15, ftol=1e-15
        ).x
        assert found[c] == pytest.approx(expected, abs=1e-4)
        root = np.sqrt(1 + ((y - columns[c] @ found[c]) / 0.5) ** 2)
        assert costs[c] == pytest.approx((root - 1).mean(), rel=1e-9)


def test_one_round_and_residuals_far_below_the_scale_are_plain_least_squares():
    columns, y = problems(2)
    plain = [np.linalg.lstsq(each, y, rcond=None)[0] for each in columns]
    assert robust_fits(columns, y, 0.5, 1)[0] == pytest.approx(np.array(plain), rel=1e-7)
    assert robust_fits(columns, y, 1e6, 5)[0] == pytest.approx(np.array(plain), rel=1e-7)


def test_each_round_weighs_residuals_of_the_one_before():
    columns, y = problems(1)
    first = np.linalg.lstsq(columns[0], y, rcond=None)[0]
    weights = 1 / np.sqrt(1 + ((y - columns[0] @ first) / 0.5) ** 2)
    root = np.sqrt(weights)[:, None]
    second = np.linalg.lstsq(root * columns[0], root[:, 0] * y, rcond=None)[0]
    assert robust_fits(columns, y, 0.5, 2)[0][0] == pytest.approx(second, rel=1e-7)


def test_columns_that_are_equal_or_nil_have_finite_coefficients_that_fit_as_well():
    columns, y = problems(1, p=1)
    twice = np.concatenate([columns, columns, np.zeros_like(columns)], 2)
    found, costs = robust_fits(twice, y, 0.5, 200)
    alone, cost = robust_fits(columns, y, 0.5, 200)
    assert np.isfinite(found).all() and found[0, :2].sum() == pytest.approx(alone[0, 0], abs=1e-4)
    assert costs[0] == pytest.approx(cost[0], rel=1e-6) and found[0, 2] == 0
    assert not robust_fits(np.zeros((1, 5, 2)), np.ones(5), 1.0, 3)[0].any()
