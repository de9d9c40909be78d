"""Fits find what generated the answers, beside SciPy's robust least squares."""

import numpy as np
import pytest
from scipy import optimize

from tests.evaluate.find_rows import TREES, X
from winnow.evaluate import find_regression as regression
from winnow.evaluate._robust_fits import robust_fits
from winnow.randomness import numpy_generator
from winnow.workloads import find_numeric


def test_linear_fits_are_those_of_scipys_robust_least_squares():
    generator = numpy_generator(1, "columns")
    columns = np.stack([generator.normal(size=(40, 3)) * 100, generator.normal(size=(40, 3))])
    y = columns[0] @ np.array([1.0, -2.0, 0.5]) + generator.normal(size=40)
    y[:6] += 500
    found, costs = robust_fits(columns, y, 2.0, 200)
    for c in range(2):
        theirs = optimize.least_squares(
            lambda b, c=c: y - columns[c] @ b, np.zeros(3), loss="soft_l1", f_scale=2.0, xtol=1e-14, ftol=1e-14
        )
        np.testing.assert_allclose(found[c], theirs.x, rtol=1e-3, atol=1e-3)
        # scipy's cost is half the sum of 2 s^2 (root - 1).
        assert costs[c] == pytest.approx(theirs.cost / 4 / 40, rel=1e-6)


def test_columns_that_are_not_finite_cost_infinity():
    columns = np.ones((2, 5, 1))
    columns[0, 2] = np.nan
    assert np.isinf(robust_fits(columns, np.arange(5.0), 1.0, 2)[1]).tolist() == [True, False]


def test_a_fit_bears_a_seventh_of_wrong_answers():
    y = find_numeric.values(TREES[2], X)
    y[20:29] = 3.0
    fits = regression.single_fits(X, y, regression.noise_scale(y, np.zeros(3)))
    right = np.delete(np.arange(64), np.arange(20, 29))
    # A fit need not be nearer than delta, a thousandth of the answers' spread.
    assert np.abs(fits[0].residuals[right]).max() < 4e-3 * np.subtract(*np.percentile(y, [75, 25]))


@pytest.mark.parametrize("name", ["sum", "product"])
def test_two_terms_are_found(name):
    tree = [name, ["linear", 2.0, 3.0], ["step", 80.0, 60.0, 5.0]]
    y = find_numeric.values(tree, X)
    delta = regression.noise_scale(y, np.zeros(3))
    single = regression.single_fits(X, y, delta)
    assert not regression.exact(single[0], delta)
    best = regression.pair_fits(single, X, y, delta)[0]
    assert regression.exact(best, delta)
