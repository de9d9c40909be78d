"""Least squares against the normal equations, scikit-learn and what draws scatter by."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from winnow.attribution.least_squares import effective_samples, weighted_least_squares
from winnow.errors import InputError


def problem(seed=0, problems=3, m=40, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(problems, m, d)), rng.normal(size=(problems, m)), rng.uniform(0.1, 2, (problems, m))


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 1.0, 30.0])
def test_solutions_are_those_of_scikit_learn(bias, ridge):
    z, y, w = problem()
    fit = weighted_least_squares(*tensors(z, y, w), bias=bias, ridge=ridge)
    for i in range(3):
        model = Ridge(alpha=ridge, fit_intercept=bias, tol=1e-14, solver="cholesky").fit(z[i], y[i], w[i])
        assert fit.coefficients[i].numpy() == pytest.approx(model.coef_, abs=1e-10)
        assert float(fit.bias[i]) == pytest.approx(model.intercept_, abs=1e-10)
        residuals = y[i] - model.predict(z[i])
        assert float(fit.loss[i]) == pytest.approx(np.average(residuals**2, weights=w[i]), abs=1e-10)
        assert float(fit.effective_samples[i]) == pytest.approx(w[i].sum() ** 2 / (w[i] ** 2).sum())


def by_lagrange(z, y, w, constraint, value, ridge):
    """The same minimum from its stationary point: coefficients and multipliers of one linear system."""
    k, d = constraint.shape
    system = np.zeros((d + k, d + k))
    system[:d, :d] = z.T @ (w[:, None] * z) + ridge * np.eye(d)
    system[:d, d:], system[d:, :d] = constraint.T, constraint
    return np.linalg.solve(system, np.concatenate([z.T @ (w * y), value]))[:d]


@pytest.mark.parametrize("ridge", [0.0, 2.0])
@pytest.mark.parametrize("count", [1, 2])
def test_constraints_hold_exactly_and_the_rest_is_the_least_squares_under_them(count, ridge):
    z, y, w = problem(1)
    rng = np.random.default_rng(2)
    constraint, value = rng.normal(size=(count, 5)), rng.normal(size=(3, count)) * 100
    given_ = tuple(tensors(constraint, value))
    fit = weighted_least_squares(*tensors(z, y, w), bias=False, ridge=ridge, constraint=given_)
    assert (fit.coefficients @ given_[0].T - given_[1]).abs().max() < 1e-11 * 100
    for i in range(3):
        expected = by_lagrange(z[i], y[i], w[i], constraint, value[i], ridge)
        assert fit.coefficients[i].numpy() == pytest.approx(expected, abs=1e-9)
    assert (fit.bias == 0).all()


def test_problems_may_share_their_design_and_weights():
    z, y, w = problem(3)
    shared = weighted_least_squares(*tensors(z[:1], y, w[:1]), bias=True)
    alone = weighted_least_squares(*tensors(z[[0, 0, 0]], y, w[[0, 0, 0]]), bias=True)
    for one, other in zip(shared[:4], alone[:4], strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(5)), st.floats(-5, 5), st.floats(0.1, 10))
def test_permuted_columns_a_constant_scaled_weights_and_halved_copies_change_what_they_should(seed, order, c, factor):
    z, y, w = problem(seed, 1)
    fit = weighted_least_squares(*tensors(z, y, w))
    permuted = weighted_least_squares(*tensors(z[..., list(order)], y, w))
    assert torch.allclose(permuted.coefficients, fit.coefficients[..., list(order)], atol=1e-9)
    assert torch.allclose(permuted.error, fit.error[..., list(order)], atol=1e-9)
    shifted = weighted_least_squares(*tensors(z, y + c, factor * w))
    assert torch.allclose(shifted.coefficients, fit.coefficients, atol=1e-9)
    assert torch.allclose(shifted.bias, fit.bias + c, atol=1e-9)
    assert torch.allclose(shifted.error, fit.error, atol=1e-9)
    twice = weighted_least_squares(
        *tensors(*(np.concatenate([a, a], 1) for a in (z, y)), np.concatenate([w, w], 1) / 2)
    )
    assert torch.allclose(twice.coefficients, fit.coefficients, atol=1e-9)


@pytest.mark.parametrize("wrong", [False, True])
def test_errors_are_what_the_coefficients_scatter_by_from_draw_to_draw(wrong):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 60, 3, generator=generator, dtype=torch.float64)
    w = torch.rand(2000, 60, generator=generator, dtype=torch.float64) + 0.5
    y = z @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    # A model that is wrong has residuals whose spread depends on z, which equal-variance formulas miss.
    y = y + (z[..., 0] ** 3 if wrong else torch.randn(2000, 60, generator=generator, dtype=torch.float64))
    fit = weighted_least_squares(z, y, w)
    ratio = fit.coefficients.std(0) / (fit.error**2).mean(0).sqrt()
    # HC1 is known to be low by some per cent for heavy-tailed regressors and few rows.
    assert ((ratio > 0.9) & (ratio < 1.3)).all()


def test_rows_of_one_draw_count_once_and_rows_that_are_not_random_not_at_all():
    z, y, w = tensors(*problem(4, 2))
    plain = weighted_least_squares(z, y, w, draws=torch.arange(40))
    twice = weighted_least_squares(
        torch.cat([z, z], 1), torch.cat([y, y], 1), torch.cat([w, w], 1) / 2, draws=torch.arange(80) % 40
    )
    assert torch.allclose(plain.error, twice.error, atol=1e-12)
    corrected = plain.error * ((40 / (40 - 5)) / (40 / 39)) ** 0.5
    assert torch.allclose(weighted_least_squares(z, y, w).error, corrected, atol=1e-12)
    fixed = weighted_least_squares(z, y, w, draws=torch.full((40,), -1))
    assert fixed.error.shape == (2, 5) and (fixed.error == 0).all()


@pytest.mark.parametrize("ridge", [0.0, 2.0])
@pytest.mark.parametrize("bias", [True, False])
def test_any_number_of_leading_axes_gives_the_same_solutions(bias, ridge):
    z, y, w = tensors(*problem(5, 6))
    flat = weighted_least_squares(z, y, w, bias=bias, ridge=ridge)
    alone = weighted_least_squares(z[4], y[4], w[4], bias=bias, ridge=ridge)
    deep = weighted_least_squares(*(a.view(2, 1, 3, *a.shape[1:]) for a in (z, y, w)), bias=bias, ridge=ridge)
    draws = torch.arange(40) % 20
    grouped = weighted_least_squares(z, y, w, bias=bias, draws=draws).error
    assert torch.allclose(weighted_least_squares(z[4], y[4], w[4], bias=bias, draws=draws).error, grouped[4])
    for whole, one, many in zip(flat, alone, deep, strict=True):
        assert torch.allclose(one, whole[4]) and torch.allclose(many.flatten(0, 2), whole)
    none = torch.full((40,), -1)
    assert weighted_least_squares(z[4], y[4], w[4], bias=bias, draws=none).error.tolist() == [0.0] * 5
    constraint = (torch.ones(1, 5, dtype=torch.float64), torch.ones(6, 1, dtype=torch.float64))
    bound = weighted_least_squares(z, y, w, bias=False, draws=none, constraint=constraint)
    assert bound.error.shape == (6, 5)


def test_a_constraint_leaves_the_errors_of_the_free_directions_alone():
    z, y, w = tensors(*problem(6, 2))
    # c_4 = 7 is the fit of the others to what is left; c_4 itself has no error.
    last = torch.eye(5, dtype=torch.float64)[4:]
    fit = weighted_least_squares(z, y, w, bias=False, constraint=(last, torch.full((2, 1), 7.0)))
    rest = weighted_least_squares(z[..., :4], y - 7 * z[..., 4], w, bias=False)
    assert torch.allclose(fit.error[:, :4], rest.error) and (fit.error[:, 4] < 1e-12).all()


def test_rows_as_many_as_coefficients_have_no_error_that_could_be_told():
    z, y, w = (a[:, :6] for a in tensors(*problem(7)))
    assert weighted_least_squares(z[:, :5], y[:, :5], w[:, :5], bias=False).error.isnan().all()
    assert weighted_least_squares(z, y, w, bias=False).error.isfinite().all()


def test_effective_samples_are_counted_also_where_their_squares_underflow():
    assert float(effective_samples(torch.full((8,), 1e-200, dtype=torch.float64))) == pytest.approx(8)
    assert float(effective_samples(torch.tensor([1.0, 0, 0], dtype=torch.float64))) == 1
    assert float(effective_samples(torch.zeros(3, dtype=torch.float64))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, y, w: (z, y, w * 0), "0 effective samples of 40 do not span 5"),
        (lambda z, y, w: (z, y, torch.where(torch.arange(40) < 3, w, 0)), "effective samples of 40 do not span 5"),
        (lambda z, y, w: (z[:, :4], y[:, :4], w[:, :4]), "do not span 5"),
        (lambda z, y, w: (torch.cat([z[..., :4], z[..., :1]], -1), y, w), "do not span 5"),
        (lambda z, y, w: (z * float("nan"), y, w), "NaN"),
        (lambda z, y, w: (z, y / 0, w), "NaN or infinite"),
        (lambda z, y, w: (z, y, -w), "weight negative"),
        (lambda z, y, w: (z, y, torch.where(torch.arange(40) == 3, -0.5, w)), "weight negative"),
        (lambda z, y, w: (z, torch.where(torch.arange(40) == 3, float("nan"), y), w), "NaN or infinite"),
        (lambda z, y, w: (1e-3 * torch.cat([z[..., :4], z[..., :1]], -1), y, w), "do not span 5"),
        (lambda z, y, w: (z, y, w * torch.tensor([[1.0], [1.0], [0.0]])), "0 effective samples of 40"),
    ],
)
def test_what_cannot_be_solved_is_named(change, message):
    with pytest.raises(InputError, match=message):
        weighted_least_squares(*change(*tensors(*problem())))
    if "span" in message and "of 40" in message:  # a penalty makes any rows enough
        weighted_least_squares(*change(*tensors(*problem())), ridge=1.0)
