"""Fits by Newton's method against scikit-learn, and side by side against alone."""

import numpy as np
import pytest

from tests.attribution.refits import data, refit
from winnow.attribution.influence import ridge_penalty, with_intercept
from winnow.attribution.newton_fits import (
    _descend,
    _objective,
    fit_without,
    hessians_of,
    inverse_of,
    residual_and_curvature,
)
from winnow.errors import InputError


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_fits_without_rows_are_those_of_scikit_learn(loss):
    x, y = data(loss=loss)
    kept = np.random.default_rng(1).random((7, 60)) < 0.8
    found = fit_without(with_intercept(x), y, kept, ridge_penalty(0.1, 5), loss=loss)
    for theta, mask in zip(found, kept, strict=True):
        assert np.allclose(theta, refit(x, y, mask, 0.1, loss), atol=1e-7)


def test_fits_side_by_side_equal_fits_alone_with_their_own_penalties():
    x, y = data()
    kept = np.random.default_rng(1).random((5, 60)) < 0.7
    penalties = np.random.default_rng(2).random((5, 5))
    together = fit_without(with_intercept(x), y, kept, penalties)
    for i in range(5):
        assert np.allclose(fit_without(with_intercept(x), y, kept[i], penalties[i])[0], together[i], atol=1e-10)
    far = fit_without(with_intercept(x), y, kept, penalties, start=np.full(5, 30.0))
    assert np.allclose(far, together, atol=1e-9)


def test_separable_classes_without_a_penalty_are_refused():
    _, y = data(20, 2)
    with pytest.raises(InputError, match="smallest eigenvalue is .*; raise the ridge"):
        fit_without(with_intercept(np.column_stack([y, y])), y, np.ones((1, 20), bool), ridge_penalty(0.0, 3))


@pytest.mark.parametrize("fits", [2, 9])
def test_hessians_are_weighted_sums_of_outer_products(fits):
    design = np.random.default_rng(0).normal(size=(30, 4))
    weights = np.random.default_rng(1).random((fits, 30))
    expected = np.einsum("fn,np,nq->fpq", weights, design, design)
    assert np.allclose(hessians_of(design, fits)(weights), expected, atol=1e-12)


def test_each_fit_may_start_elsewhere_and_ends_at_its_own_minimum():
    x, y = data()
    design, penalty = with_intercept(x), ridge_penalty(0.1, 5)
    kept = np.random.default_rng(1).random((8, 60)) < 0.7
    starts = np.random.default_rng(2).normal(size=(8, 5))
    found = fit_without(design, y, kept, penalty, start=starts, hessians=hessians_of(design, 8))
    residual = 1 / (1 + np.exp(-found @ design.T)) - y
    gradient = (kept * residual) @ design / 60 + penalty * found
    assert np.abs(gradient).max() < 1e-11
    assert np.allclose(found, fit_without(design, y, kept, penalty), atol=1e-10)


@pytest.mark.parametrize("size", [1, 4])
def test_inverses_are_given_where_they_exist_and_refused_by_the_smallest_eigenvalue(size):
    root = np.random.default_rng(0).normal(size=(3, size, size))
    hessian = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(size)
    assert np.allclose(inverse_of(hessian) @ hessian, np.eye(size), atol=1e-10)
    assert np.allclose(inverse_of(np.diag([1.0, 1e-11])), np.diag([1.0, 1e11]))
    for smallest in (0.0, 1e-13):
        with pytest.raises(InputError, match="its smallest eigenvalue is"):
            inverse_of(np.diag([1.0, smallest]))


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_derivatives_of_the_losses_are_finite_differences(loss):
    outputs, y = np.linspace(-4, 4, 9), np.arange(9) % 2

    def value(z):
        return (z - y) ** 2 / 2 if loss == "squared" else np.log1p(np.exp(z)) - y * z

    first, second = residual_and_curvature(outputs, y, loss)
    assert np.allclose(first, (value(outputs + 1e-5) - value(outputs - 1e-5)) / 2e-5, atol=1e-9)
    numeric = (value(outputs + 1e-3) - 2 * value(outputs) + value(outputs - 1e-3)) / 1e-6
    assert np.allclose(second, numeric, atol=1e-6)


def test_a_hessian_serves_for_several_steps():
    x, y = data()
    design, penalty, kept = with_intercept(x), ridge_penalty(0.1, 5), np.ones((1, 60), bool)
    asked = []

    def counted(weights):
        asked.append(len(weights))
        return hessians_of(design, 1)(weights)

    best = fit_without(design, y, kept, penalty)[0]
    found = fit_without(design, y, kept, penalty, start=best + 1e-3, hessians=counted)[0]
    assert asked == [1] and np.allclose(found, best, atol=1e-10)


def test_many_fits_and_few_have_the_same_hessians():
    design = np.random.default_rng(0).normal(size=(30, 4))
    weights = np.random.default_rng(1).random((3, 30))
    assert np.allclose(hessians_of(design, 3)(weights), hessians_of(design, 100)(weights), atol=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_the_objective_is_a_weighted_sum_of_losses_and_half_the_penalty(loss):
    generator = np.random.default_rng(0)
    design, y, theta = generator.normal(size=(6, 3)), np.arange(6) % 2, generator.normal(size=(2, 3))
    weights, penalty = generator.random((2, 6)), generator.random((2, 3))
    expected = []
    for f in range(2):
        total = sum(penalty[f, k] * theta[f, k] ** 2 / 2 for k in range(3))
        for i in range(6):
            z = sum(design[i, k] * theta[f, k] for k in range(3))
            row = (z - y[i]) ** 2 / 2 if loss == "squared" else np.log(1 + np.exp(z)) - y[i] * z
            total += weights[f, i] * row
        expected.append(total)
    assert _objective(design, y, weights, penalty, theta, loss) == pytest.approx(expected, rel=1e-12)


def one_square(theta, step):
    """Fits of half theta^2, one for each start and step: those that go on, and where they are."""
    theta = np.array(theta, float)[:, None]
    weights, penalty = np.ones((len(theta), 1)), np.zeros((len(theta), 1))
    problem = (np.ones((1, 1)), np.zeros(1), weights, penalty)
    value = _objective(*problem, theta, "squared")
    active, found, reached = _descend(
        *problem, theta, value, np.arange(len(theta)), np.array(step, float)[:, None], "squared"
    )
    assert np.array_equal(reached, found[:, 0] ** 2 / 2)
    return active.tolist(), found[:, 0].tolist()


def test_steps_are_halved_until_they_lead_down_and_what_cannot_go_down_has_arrived():
    assert one_square([1.0, 1.0, 4.0], [-1.0, -3.9, -35.0]) == ([0, 1, 2], [0.0, 1 - 3.9 / 2, 4 - 35 / 8])
    assert one_square([1.0, 1.0], [1.0, -1.0]) == ([1], [1.0, 0.0])  # the first only leads up
    assert one_square([1.0, 0.0], [0.0, 0.0]) == ([0, 1], [1.0, 0.0])  # as low as before is low enough


def test_a_fit_that_starts_at_its_minimum_asks_for_no_hessian_and_others_only_for_what_is_stale():
    asked = []

    def counted(weights):
        asked.append(len(weights))
        return hessians_of(design, len(weights))(weights)

    x, y = data()
    design, penalty, kept = with_intercept(x), ridge_penalty(0.1, 5), np.ones((2, 60), bool)
    nothing = fit_without(design, np.zeros(60), kept, penalty, loss="squared", hessians=counted)
    assert not asked and np.array_equal(nothing, np.zeros((2, 5)))
    best = fit_without(design, y, kept[0], penalty)[0]
    found = fit_without(design, y, kept, penalty, start=np.stack([best + 1e-3, best + 9]), hessians=counted)
    assert asked[0] == 2 and set(asked[1:]) == {1} and np.allclose(found, best, atol=1e-9)


def test_an_inverse_is_refused_by_the_smallest_eigenvalue_of_all_beside_the_largest_of_all():
    plain = np.eye(3)
    for scale in (1e-6, 1.0, 1e6):
        small = scale * np.diag([1.0, 0.5, 1e-11])
        assert np.allclose(inverse_of(small) @ small, plain)
        for refused in (
            scale * np.diag([1.0, 0.5, 1e-13]),
            np.stack([scale * plain, scale * np.diag([1.0, 1.0, 1e-13])]),
        ):
            with pytest.raises(InputError, match=f"smallest eigenvalue is {scale * 1e-13:.3g}, so"):
                inverse_of(refused)
    with pytest.raises(InputError, match="smallest eigenvalue is 1e-05"):
        inverse_of(np.stack([np.diag([1e8, 1e-5, 1e-5]), 1e-5 * plain]))
    with pytest.raises(InputError, match="smallest eigenvalue is 1e-05"):
        inverse_of(np.stack([1e8 * plain, 1e-5 * plain]))


def test_no_eigenvalues_are_asked_for_where_the_inverse_tells_enough(monkeypatch):
    def asked(hessian):
        raise AssertionError("eigenvalues cost more than the inverse")

    monkeypatch.setattr(np.linalg, "eigvalsh", asked)
    many = np.stack([np.diag([1.0, 1e-6, 2.0]), 1e3 * np.eye(3)])
    assert np.allclose(inverse_of(many) @ many, np.eye(3))
