"""Solvers against scipy, the definition, and functions that are in the family."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from winnow.evaluate.local_solvers import adam_grid, logistic_fit, mean_gradients
from winnow.randomness import torch_generator


def draws(n=2, m=120, d=3, seed=0):
    generator = torch_generator(seed, "solvers")
    z = torch.randn(n, m, d, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, m, generator=generator, dtype=torch.float64) + 0.2
    return z, weights


def bumpy(z):
    """Values in (0, 1) and gradients of a function that is not logistic."""
    z = z.clone().requires_grad_()
    values = torch.sigmoid(z[..., 0] - z[..., 1] ** 2 + z[..., 2].sin())
    (gradients,) = torch.autograd.grad(values.sum(), z)
    return values.detach(), gradients


def residuals(parameters, z, values, gradients, share, bias):
    d = z.shape[1]
    w, b = parameters[:d], parameters[d] if bias else 0.0
    g = 1 / (1 + np.exp(-(z @ w + b)))
    if gradients is None:
        return np.sqrt(share) * (values - g)
    return (np.sqrt(share)[:, None] * (gradients - (g * (1 - g))[:, None] * w)).ravel()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("matching", ["values", "gradients"])
def test_a_logistic_fit_is_a_minimum_as_low_as_scipy_s(bias, matching):
    z, weights = draws()
    values, gradients = bumpy(z)
    fit = logistic_fit(z, values, weights, bias=bias, gradients=gradients if matching == "gradients" else None)
    for i in range(2):
        share = (weights[i] / weights[i].sum()).numpy()
        arguments = (z[i].numpy(), values[i].numpy(), gradients[i].numpy() if matching == "gradients" else None)
        start = np.concatenate([fit.coefficients[i].numpy(), fit.bias[i : i + 1].numpy()[: int(bias)]])
        found = least_squares(residuals, start, args=(*arguments, share, bias), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        assert float(fit.loss[i]) == pytest.approx(2 * found.cost, rel=1e-9)
        assert start == pytest.approx(found.x, abs=1e-5)
        # From elsewhere scipy finds no better one.
        other = least_squares(residuals, np.full(len(start), 0.1), args=(*arguments, share, bias))
        assert float(fit.loss[i]) <= 2 * other.cost * (1 + 1e-9)
    if not bias:
        assert (fit.bias == 0).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("matching", ["values", "gradients"])
def test_a_logistic_function_is_recovered(bias, matching):
    z, weights = draws(3, 200, 4, seed=1)
    w = torch.randn(3, 4, generator=torch_generator(2), dtype=torch.float64)
    b = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64) * bias
    values = torch.sigmoid((z @ w[..., None])[..., 0] + b[:, None])
    gradients = (values * (1 - values))[..., None] * w[:, None]
    fit = logistic_fit(z, values, weights, bias=bias, gradients=gradients if matching == "gradients" else None)
    assert torch.allclose(fit.coefficients, w, atol=1e-8) and torch.allclose(fit.bias, b, atol=1e-8)
    assert (fit.loss < 1e-18).all()


@pytest.mark.parametrize("matching", ["values", "gradients"])
def test_errors_of_a_logistic_fit_are_what_it_scatters_by(matching):
    z, weights = draws(150, 100, 3, seed=3)
    values, gradients = bumpy(z)
    fit = logistic_fit(z, values, weights, gradients=gradients if matching == "gradients" else None)
    ratio = fit.coefficients.std(0) / (fit.error**2).mean(0).sqrt()
    assert ((ratio > 0.8) & (ratio < 1.35)).all()


def test_mean_gradients_are_weighted_and_their_errors_are_those_of_a_mean():
    z, weights = draws(2000, 40, 3, seed=4)
    _, gradients = bumpy(z)
    fit = mean_gradients(gradients, weights)
    for i in range(3):
        share = (weights[i] / weights[i].sum()).numpy()
        assert fit.coefficients[i].numpy() == pytest.approx(np.average(gradients[i].numpy(), axis=0, weights=share))
        off = gradients[i].numpy() - fit.coefficients[i].numpy()
        assert float(fit.loss[i]) == pytest.approx(float((share * (off**2).sum(1)).sum()))
    ratio = fit.coefficients.std(0) / (fit.error**2).mean(0).sqrt()
    assert ((ratio > 0.93) & (ratio < 1.07)).all()
    assert (fit.bias == 0).all() and fit.effective_samples.shape == (2000,)
    alike = mean_gradients(gradients[:2], torch.ones(2, 40, dtype=torch.float64))
    assert torch.allclose(alike.error, gradients[:2].std(1) / 40**0.5)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("matching", ["values", "gradients"])
def test_the_authors_search_ends_near_a_function_that_is_in_the_family(logistic, matching):
    z, _ = draws(2, 200, 2, seed=5)
    w = torch.tensor([[0.8, -0.5], [0.2, 1.0]], dtype=torch.float64)
    line = (z @ w[..., None])[..., 0] + 0.3
    values = torch.sigmoid(line) if logistic else line
    slope = (values * (1 - values))[..., None] if logistic else torch.ones(1, dtype=torch.float64)
    gradients = (slope * w[:, None]).expand_as(z)
    fit = adam_grid(
        z,
        values,
        torch.ones(2, 200, dtype=torch.float64),
        bias=True,
        logistic=logistic,
        gradients=gradients if matching == "gradients" else None,
        generator=torch_generator(0),
    )
    assert (fit.coefficients - w).abs().max() < 0.05
    assert matching == "gradients" or (fit.bias - 0.3).abs().max() < 0.05
    assert fit.error.isnan().all() and (fit.loss >= 0).all() and float(fit.loss.max()) < 0.05


def test_the_authors_search_weighs_its_draws_and_may_leave_the_bias_out():
    z, _ = draws(1, 200, 2, seed=6)
    where = z[..., 0] > 0
    values = torch.where(where, z[..., 1], -z[..., 1]) + 1
    fit = adam_grid(z, values, where.double() + 1e-9, bias=False, generator=torch_generator(0))
    assert fit.coefficients[0, 1] > 0.8 and (fit.bias == 0).all()
    assert adam_grid(z, values, where.double() + 1e-9, bias=True, generator=torch_generator(0)).bias[0] > 0.8
