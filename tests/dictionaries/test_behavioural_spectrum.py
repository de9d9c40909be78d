import math
import statistics

import pytest
import torch
from torch import nn

from winnow.dictionaries.behavioural_spectrum import behavioural_product, counted, counted_above, lanczos
from winnow.dictionaries.interaction_basis import behavioural_hessian, logit_gauge
from winnow.errors import InputError


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)).double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(i, *parameter.shape))
    return model, normal(9, 30, 3)


def matrix(eigenvalues, seed=0):
    turn = torch.linalg.qr(normal(seed, len(eigenvalues), len(eigenvalues))).Q
    return turn * torch.tensor(eigenvalues, dtype=torch.float64) @ turn.T


@pytest.mark.parametrize("output", [None, logit_gauge([2, 2])])
def test_the_product_is_that_of_the_hessian_itself(output):
    model, x = network()
    product, size = behavioural_product(model, x, output)
    assert size == 4 * 4 + 5 * 4
    vector = normal(4, size)
    torch.testing.assert_close(product(vector), behavioural_hessian(model, x, output=output) @ vector)


def test_a_model_in_single_precision_is_refused():
    with pytest.raises(InputError, match="need float64"):
        behavioural_product(nn.Linear(2, 2), torch.zeros(1, 2))


def test_as_many_steps_as_dimensions_give_the_eigenvalues():
    values = [5.0, 3.0, 2.0, 1.0, 0.5, 0.25]
    whole = matrix(values)
    found, weights = lanczos(lambda v: whole @ v, normal(1, 6), 99)
    torch.testing.assert_close(found, torch.tensor(sorted(values)).double(), rtol=1e-10, atol=1e-12)
    start = normal(1, 6) / normal(1, 6).norm()
    expected = (torch.linalg.eigh(whole).eigenvectors.T @ start).square()
    torch.testing.assert_close(weights, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("steps", [3, 8, 40])
def test_few_steps_integrate_polynomials_exactly(steps):
    # Gauss quadrature: k steps are exact up to degree 2 k - 1.
    whole, start = matrix([1 + 0.1 * i for i in range(60)]), normal(2, 60)
    start = start / start.norm()
    values, weights = lanczos(lambda v: whole @ v, start, steps)
    assert len(values) == steps and float(weights.sum()) == pytest.approx(1)
    for degree in (1, 2, 5):
        expected = float(start @ torch.linalg.matrix_power(whole, degree) @ start)
        assert float((weights * values**degree).sum()) == pytest.approx(expected, rel=1e-10)


def test_an_exhausted_space_ends_the_search():
    whole = matrix([2.0, 2.0, 2.0, 1.0, 1.0])
    values, weights = lanczos(lambda v: whole @ v, normal(3, 5), 5)
    torch.testing.assert_close(values, torch.tensor([1.0, 2.0]).double())
    assert float(weights.sum()) == pytest.approx(1)


def test_a_matrix_of_zeros_has_one_ritz_value_and_no_eigenvalue_above_any_tolerance():
    values, weights = lanczos(lambda v: 0 * v, normal(1, 4), 3)
    assert values.tolist() == [0.0] and weights.tolist() == [1.0]
    assert counted_above(lambda v: 0 * v, 4, [0.5, 0.0], probes=2, steps=3, seed=0).counts == [0.0, 0.0]


def test_eigenvalues_above_tolerances_are_counted():
    eigenvalues = [10.0] * 7 + [1.0] * 5 + [1e-3] * 4 + [0.0] * 14
    whole, calls = matrix(eigenvalues), []
    found = counted_above(
        lambda v: whole @ v,
        30,
        [0.5, 0.05, 1e-5],
        probes=400,
        steps=10,
        seed=0,
        progress=lambda *told: calls.append(told),
    )
    for count, error, expected in zip(found.counts, found.errors, [7, 12, 16], strict=True):
        assert count == pytest.approx(expected, abs=0.6)  # three standard errors of 400 probes
        assert error > 0
    assert calls[-1] == (400, 400) and len(calls) == 400
    assert found.values.shape == found.weights.shape == (400, 10)
    torch.testing.assert_close(found.weights.sum(1), torch.full((400,), 30.0).double())


def test_the_error_holds_what_the_quadrature_misses_and_what_probes_differ_by():
    whole = matrix([1 + 0.01 * i for i in range(100)])
    exact = sum(1 + 0.01 * i > 0.75 * 1.99 for i in range(100))
    few = counted_above(lambda v: whole @ v, 100, [0.75], probes=20, steps=3, seed=0)
    assert abs(few.counts[0] - exact) <= few.errors[0]
    full = counted_above(lambda v: whole @ v, 100, [0.75], probes=20, steps=100, seed=0)
    each = (full.weights * (full.values > 0.75 * full.values.max())).sum(1)
    assert full.counts[0] == pytest.approx(float(each.mean()))
    assert full.errors[0] >= float(each.std()) / math.sqrt(20)
    assert full.errors[0] < few.errors[0]


def test_the_same_seed_gives_the_same_probes():
    whole = matrix([1.0, 2.0, 3.0, 4.0])
    runs = [counted_above(lambda v: whole @ v, 4, [0.6], probes=3, steps=2, seed=s).counts for s in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("probes", [1, 3])
def test_an_error_is_that_of_the_mean_over_probes_and_the_weight_beside_the_threshold(probes):
    whole = matrix([4.0, 3.0, 1.0, 0.5, 0.2, 0.1])
    found = counted_above(lambda v: whole @ v, 6, [0.5, 1e-9], probes=probes, steps=3, seed=0)
    for tolerance, count, error in zip([0.5, 1e-9], found.counts, found.errors, strict=True):
        counted, beside = [], []
        for values, weights in zip(found.values.tolist(), found.weights.tolist(), strict=True):
            cut = sum(value <= tolerance * found.values.max() for value in values)
            counted.append(sum(weights[cut:]))
            beside.append(max(weights[max(cut - 1, 0)], weights[cut]))
        assert count == pytest.approx(statistics.mean(counted))
        if probes == 1:
            assert math.isnan(error)
        else:
            spread = statistics.stdev(counted) / math.sqrt(probes)
            assert error == pytest.approx(spread + statistics.mean(beside))


def test_a_space_that_is_exhausted_early_is_filled_up_with_no_weight():
    found = counted_above(lambda v: 2 * v, 4, [0.5], probes=2, steps=3, seed=0)
    assert found.values.tolist() == [[2.0] * 3] * 2 and found.counts == [4.0]
    assert found.weights.tolist() == [[pytest.approx(4.0), 0.0, 0.0]] * 2


def test_eigenvalues_are_counted_above_a_threshold_of_another_matrix():
    whole = matrix([4.0, 3.0, 1.0, 0.5, 0.2, 0.1])
    found = counted_above(lambda v: whole @ v, 6, [0.5], probes=40, steps=6, seed=0)
    assert counted(found.values, found.weights, 2.0) == (found.counts[0], found.errors[0])
    for threshold, exact in ((0.15, 5), (0.7, 3), (3.5, 1)):
        count, error = counted(found.values, found.weights, threshold)
        assert abs(count - exact) <= 4 * error
    # Above all of them there is none, and the last one's weight is how far off that may be.
    count, error = counted(found.values, found.weights, 5.0)
    assert count == 0 and error >= float(found.weights[:, -1].mean())
