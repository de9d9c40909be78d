"""Influence against true refits, closed forms of ridge regression, and scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from tests.attribution.refits import data, refit
from winnow.attribution.influence import influence, influence_of, ridge_penalty, with_intercept
from winnow.attribution.newton_fits import fit_without
from winnow.errors import InputError


def all_but(n, rows):
    return np.setdiff1d(np.arange(n), rows)


def test_a_fit_is_where_the_gradient_vanishes_and_the_hessian_is_its_derivative():
    x, y = data()
    design, penalty = with_intercept(x), ridge_penalty(0.05, 5)

    def gradient(theta):
        return design.T @ (1 / (1 + np.exp(-design @ theta)) - y) / len(y) + penalty * theta

    found = influence(x, y, 0.05)
    assert np.abs(gradient(found.theta)).max() < 1e-11
    numeric = np.stack([(gradient(found.theta + e) - gradient(found.theta - e)) / 2e-6 for e in 1e-6 * np.eye(5)])
    assert np.allclose(numeric, found.hessian, atol=1e-8)


def test_ridge_regression_without_a_row_follows_from_its_leverage():
    x, y = data(loss="squared")
    found = influence(x, y, 0.1, loss="squared")
    leverage = found.leverage()
    for i in range(60):
        exact = refit(x, y, all_but(60, [i]), 0.1, "squared")
        closed = found.theta + found.steps[i] / 60 / (1 - leverage[i])
        assert np.allclose(closed, exact, atol=1e-10)
        assert np.allclose(found.without(np.array([i]), "newton"), exact, atol=1e-10)
        left_out = y[i] - np.append(x[i], 1) @ exact
        assert left_out == pytest.approx(-found.residual[i] / (1 - leverage[i]), abs=1e-10)
    design = with_intercept(x)
    penalised = np.diag(ridge_penalty(0.1, 5)) * 60
    hat = design @ np.linalg.inv(design.T @ design + penalised) @ design.T
    assert np.allclose(leverage, np.diag(hat), atol=1e-12)


def test_a_newton_step_without_many_rows_is_exact_for_a_squared_loss_and_close_for_a_logistic():
    rows = np.array([3, 17, 20, 44, 59])
    x, y = data(loss="squared")
    found = influence(x, y, 0.1, loss="squared")
    assert np.allclose(found.without(rows, "newton"), refit(x, y, all_but(60, rows), 0.1, "squared"), atol=1e-10)
    x, y = data()
    found = influence(x, y, 0.1)
    exact = refit(x, y, all_but(60, rows), 0.1)
    first, newton = (np.abs(found.without(rows, order) - exact).max() for order in ("first", "newton"))
    assert newton < first < 0.1


def test_influence_ranks_rows_as_true_deletions_do():
    x, y = data(100)
    found = influence(x, y, 0.1)
    phi = np.append(np.random.default_rng(3).normal(size=4), 1)
    kept = ~np.eye(100, dtype=bool)
    true = (fit_without(found.design, y, kept, ridge_penalty(0.1, 5)) - found.theta) @ phi * 100
    assert spearmanr(true, found.scores(phi)).statistic >= 0.99
    # To first order a deletion does a little less than it does: the other rows' share of the Hessian shrinks too.
    assert 1 < np.median(true / found.scores(phi)) < 1.05


@given(st.integers(0, 1000), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_the_worst_rows_are_the_worst_of_all_subsets(seed, k):
    x, y = data(9, 2, seed)
    if len(set(y)) < 2:
        return
    found = influence(x, y, 0.5)
    phi = np.append(np.random.default_rng(seed).normal(size=2), 1)
    rows = found.worst(phi, k)
    least = min(
        found.without(np.array(subset, dtype=int)) @ phi
        for size in range(k + 1)
        for subset in combinations(range(9), size)
    )
    assert found.without(rows) @ phi == pytest.approx(least, abs=1e-12)
    assert found.margin(phi, k) == pytest.approx(least, abs=1e-12)
    assert found.margin(np.stack([phi, phi]), k).shape == (2,)
    scores = found.scores(phi)[rows]
    assert (np.diff(scores) >= 0).all() and len(rows) <= k


def test_rows_whose_deletion_helps_are_left_alone_and_ties_go_to_the_lower_row():
    found = influence(np.tile([[1.0], [-1.0]], (4, 1)), np.tile([1.0, 0.0], 4), 0.5)
    phi = np.array([1.0, 0.0])
    assert found.worst(phi, 3).tolist() == [0, 1, 2]
    assert found.worst(-phi, 3).tolist() == []
    assert found.margin(-phi, 3) == pytest.approx(-phi @ found.theta)


@given(st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_margin_is_concave(seed, share):
    x, y = data(20, 3)
    found = influence(x, y, 0.2)
    one, other = np.random.default_rng(seed).normal(size=(2, 4)) * 5
    between = found.margin(share * one + (1 - share) * other, 4)
    assert between >= share * found.margin(one, 4) + (1 - share) * found.margin(other, 4) - 1e-10


def test_a_model_that_is_known_by_its_gradients_is_treated_as_its_linearisation():
    x, y = data()
    whole = influence(x, y, 0.1, damping=0.01)
    again = influence_of(whole.theta, whole.design, whole.design @ whole.theta, y, ridge_penalty(0.1, 5), damping=0.01)
    assert np.array_equal(again.steps, whole.steps)
    assert np.allclose(whole.hessian - influence(x, y, 0.1).hessian, 0.01 * np.eye(5), atol=1e-15)


def test_what_has_no_inverse_or_too_few_rows_is_named():
    x, y = data(20, 2)
    separable = np.column_stack([y, y])
    with pytest.raises(InputError, match="smallest eigenvalue is .*; raise the ridge"):
        influence(separable, y, 0.0)
    with pytest.raises(InputError, match="smallest eigenvalue"):
        influence_of(np.zeros(3), np.zeros((20, 3)), np.zeros(20), y, np.zeros(3))
    found = influence(x, y, 0.1)
    for k in (-1, 20):
        with pytest.raises(InputError, match=f"k is {k} of 20 training rows"):
            found.worst(np.ones(3), k)
        with pytest.raises(InputError, match=f"k is {k} of 20 training rows"):
            found.margin(np.ones(3), k)
    with pytest.raises(InputError, match="labels 0 and 1"):
        influence(x, 2 * y, 0.1)
