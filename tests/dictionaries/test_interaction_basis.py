import re

import numpy as np
import pytest
import torch
from torch import nn

from winnow.dictionaries.interaction_basis import (
    basis_of,
    behavioural_hessian,
    degeneracy_report,
    effective_parameters,
    gradient_moment,
    interaction_basis,
    layer_values,
    logit_gauge,
    moments,
    principal,
    synchronised,
)
from winnow.errors import InputError


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_network(seed=0, widths=(5, 6, 6, 4)):
    model = nn.Sequential(*(m for a, b in zip(widths, widths[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())))
    model = model[:-1].double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(seed + i, *parameter.shape))
    return model


def parts_of(model):
    return [model[0:2], model[2:4], model[4:]]


def test_the_hessian_is_what_finite_differences_say():
    model, x = small_network(widths=(2, 3, 2)), normal(7, 20, 2)
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    target, size, step = model(x).detach(), len(start), 1e-4

    def loss(vector):
        torch.nn.utils.vector_to_parameters(vector, model.parameters())
        with torch.no_grad():
            return float((model(x) - target).square().sum(1).mean())

    steps = step * torch.eye(size, dtype=torch.float64)
    rows = [
        [
            (loss(start + a + b) - loss(start + a - b) - loss(start - a + b) + loss(start - a - b)) / (4 * step**2)
            for b in steps
        ]
        for a in steps
    ]
    loss(start)
    torch.testing.assert_close(behavioural_hessian(model, x), torch.tensor(rows).double(), rtol=1e-3, atol=1e-3)


def test_a_hessian_over_named_parameters_is_a_block_of_the_whole_and_knows_the_gauge():
    model, x = small_network(), normal(3, 70, 5)
    whole = behavioural_hessian(model, x)
    last = sum(p.numel() for p in model[4].parameters())
    torch.testing.assert_close(behavioural_hessian(model, x, ["4.weight", "4.bias"]), whole[-last:, -last:])
    gauged = behavioural_hessian(model, x, ["4.bias"], logit_gauge([2, 2]))
    torch.testing.assert_close(gauged, 2 * logit_gauge([2, 2]))
    assert effective_parameters(torch.linalg.eigvalsh(gauged), 1e-10) == 2


def test_a_hessian_too_large_or_in_single_precision_is_refused():
    with pytest.raises(InputError, match=re.escape("Hessian: 4160 parameters are more than 4000")):
        behavioural_hessian(nn.Sequential(nn.Linear(64, 64)).double(), torch.zeros(2, 64))
    with pytest.raises(InputError, match="float64"):
        behavioural_hessian(nn.Sequential(nn.Linear(2, 2)), torch.zeros(2, 2))


def test_a_network_that_is_no_chain_is_refused():
    with pytest.raises(InputError, match="chain"):
        degeneracy_report(nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double(), torch.zeros(2, 2))


def synchronised_network():
    """Units 0 and 1 fire together, the last one always does."""
    model = small_network(widths=(3, 4, 3))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 2 * model[0].weight[0], 2 * model[0].bias[0]
        model[0].weight[3], model[0].bias[3] = 0.0, 1.0
    return model, normal(3, 200, 3)


@pytest.mark.parametrize(
    ("model", "x"),
    [(small_network(0, (5, 6, 2, 4)), normal(3, 200, 5)), synchronised_network()],
    ids=["narrow", "sync"],
)
def test_as_much_is_free_as_the_hessian_says(model, x):
    eigenvalues = torch.linalg.eigvalsh(behavioural_hessian(model, x))
    free = len(eigenvalues) - effective_parameters(eigenvalues, 1e-10)
    assert sum(layer.predicted_null for layer in degeneracy_report(model, x)) == free > 0


def test_ranks_of_a_report_are_numpys_and_sizes_those_of_the_matrices():
    model, x = small_network(), normal(3, 200, 2) @ normal(4, 2, 5)  # inputs of a plane
    report = degeneracy_report(model, x)
    assert [layer.layer for layer in report] == ["0", "2", "4"]
    assert [(layer.inputs, layer.outputs) for layer in report] == [(6, 6), (7, 6), (7, 4)]
    for number, layer in enumerate(report):
        with torch.no_grad():
            before = model[: 2 * number](x)
        activations = np.column_stack([before.numpy(), np.ones(len(x))])
        assert layer.rank_activations == np.linalg.matrix_rank(activations, tol=1e-5 * np.linalg.norm(activations, 2))
        rest, made = model[2 * number + 1 :], model[: 2 * number + 1](x).detach()
        rows = torch.cat([torch.autograd.functional.jacobian(rest, row) for row in made]).numpy()
        assert layer.rank_jacobian == np.linalg.matrix_rank(rows, tol=1e-5 * np.linalg.norm(rows, 2))
        free = layer.inputs * layer.outputs - layer.rank_activations * layer.rank_jacobian
        assert layer.predicted_null == free + layer.mixing
    assert report[0].rank_activations == 3 and report[2].mixing == report[2].sync_blocks == 0


def test_blocks_of_a_report_mix_their_units_and_the_constant_where_they_always_fire():
    model, x = synchronised_network()
    first, last = degeneracy_report(model, x)
    # The two that fire together make one direction, which the next layers read along two; the others make one each.
    assert (first.sync_blocks, first.mixing) == (1, 1 * 2 + 1 + 1) and (last.sync_blocks, last.mixing) == (0, 0)


def test_coordinates_are_uncorrelated_and_gradients_orthonormal():
    model, x = small_network(1), normal(2, 400, 5)
    parts, output = parts_of(model), logit_gauge([4])
    values = layer_values(parts, x)
    for number, basis in enumerate(interaction_basis(parts, x, output)):
        coordinates = basis.coordinates(values[number])
        covariance = coordinates.T @ coordinates / len(x)
        torch.testing.assert_close(covariance, basis.eigenvalues.diag(), rtol=1e-8, atol=1e-8)
        gradients = gradient_moment(nn.Sequential(*parts[number:]), values[number], output)
        rank = len(basis.eigenvalues)
        identity = torch.eye(rank, dtype=torch.float64)
        torch.testing.assert_close(basis.back @ gradients @ basis.back.T, identity, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(basis.back @ basis.into, identity, rtol=1e-8, atol=1e-8)
        assert (basis.eigenvalues[:-1] >= basis.eigenvalues[1:]).all()
        assert (basis.into.gather(0, basis.into.abs().argmax(0, keepdim=True)) > 0).all()
    assert rank == 3  # four logits less what a softmax cannot see
    assert (basis.mean == values[2].mean(0)).all()


def test_in_a_linear_chain_directions_are_singular_directions_of_the_whitened_map():
    x, first, second = normal(0, 500, 4) @ normal(1, 4, 4), nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
    basis = interaction_basis([first, second], x, torch.eye(3).double())[0]
    centred = x - x.mean(0)
    root = torch.linalg.cholesky(centred.T @ centred / len(x))
    _, singular, _ = torch.linalg.svd((second.weight @ first.weight).detach() @ root)
    torch.testing.assert_close(basis.eigenvalues, singular**2, rtol=1e-8, atol=1e-8)


def test_reshaping_a_layer_and_junk_beside_it_change_no_coordinate():
    model, x = small_network(4), normal(5, 300, 5)
    mixing, junk = normal(6, 6, 6), normal(8, 5, 2)
    back = torch.linalg.inv(mixing)

    def first(rows):
        return torch.cat([model[0:2](rows) @ mixing, rows @ junk], dim=1)

    def second(rows):
        return model[2:4](rows[:, :6] @ back)

    plain, other = parts_of(model), [first, second, model[4:]]
    own, found = (interaction_basis(parts, x, logit_gauge([4]))[1] for parts in (plain, other))
    torch.testing.assert_close(found.eigenvalues, own.eigenvalues, rtol=1e-6, atol=1e-8)
    a, b = own.coordinates(plain[0](x)), found.coordinates(first(x))
    correlation = torch.corrcoef(torch.cat([a, b], dim=1).T)[: a.shape[1], a.shape[1] :].diagonal().abs()
    assert (correlation > 0.999).all()


def test_random_signs_estimate_the_gradients_without_bias():
    part, values, weights = small_network(2, (3, 4, 3)), normal(9, 60, 2, 3), normal(10, 3, 2)
    exact = gradient_moment(part, values, weights)
    draws = torch.stack([gradient_moment(part, values, weights, 1, seed) for seed in range(200)])
    error = (draws.mean(0) - exact).abs()
    assert (error <= 3.5 * draws.std(0) / 200**0.5 + 1e-12).all()
    many = gradient_moment(part, values, weights, 400)
    torch.testing.assert_close(many, exact, rtol=0.2, atol=0.1 * float(exact.diagonal().max()))


def test_gradients_by_hand():
    values, weights = normal(0, 6, 3, 2), normal(1, 2, 2)
    matrix = normal(2, 2, 2)

    def part(rows):  # each position reads the sum of all
        return rows.sum(1, keepdim=True).expand(-1, 3, -1) @ matrix

    expected = 3 * matrix @ weights @ weights.T @ matrix.T
    torch.testing.assert_close(gradient_moment(part, values, weights), expected)


def test_moments_are_over_rows_and_positions():
    values = normal(0, 5, 4, 3)
    mean, covariance = moments(values)
    torch.testing.assert_close(mean, values.reshape(20, 3).mean(0))
    torch.testing.assert_close(covariance, torch.cov(values.reshape(20, 3).T, correction=0))


def test_few_rows_are_warned_of_and_constant_layers_refused():
    with pytest.warns(UserWarning, match="embedding: 2 rows bound the rank of 3 dimensions"):
        moments(normal(0, 2, 3), "embedding")
    with pytest.raises(InputError, match="embedding: is the same in all 5 rows"):
        moments(torch.full((5, 3), 1e3, dtype=torch.float64), "embedding")


@pytest.mark.filterwarnings("error")
def test_as_many_rows_as_dimensions_are_enough():
    x = normal(0, 3, 3)
    mean, covariance = moments(x)
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(covariance, torch.cov(x.T, correction=0))


@pytest.mark.parametrize("part", [lambda x: x / 0, lambda x: x.float()])
def test_values_that_are_not_finite_float64_are_refused(part):
    with pytest.raises(InputError, match="part 1: gives values that are not finite float64"):
        layer_values([lambda x: x, part], normal(0, 3, 2))


def test_a_gradient_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="gradient is not finite"):
        gradient_moment(lambda x: x.sqrt(), torch.zeros(3, 2).double(), torch.eye(2).double())


def test_an_output_that_no_direction_reaches_is_refused():
    with pytest.raises(InputError, match="no direction"):
        interaction_basis([lambda x: 0 * x], normal(0, 9, 2), torch.eye(2).double())


def test_what_is_dead_in_values_or_in_gradients_has_no_direction():
    covariance = torch.diag(torch.tensor([4.0, 1.0, 1e-12, 2.0]).double())
    gradients = torch.diag(torch.tensor([1.0, 9.0, 5.0, 1e-12]).double())
    basis = basis_of(torch.zeros(4).double(), covariance, gradients, 1e-9)
    torch.testing.assert_close(basis.eigenvalues, torch.tensor([9.0, 4.0]).double())
    torch.testing.assert_close(basis.into[[1, 0], [0, 1]], torch.tensor([3.0, 1.0]).double())
    row = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).double()
    torch.testing.assert_close(basis.values(basis.coordinates(row)), torch.tensor([[1.0, 2.0, 0.0, 0.0]]).double())


def test_what_rounding_alone_moves_never_varies_but_one_direction_that_does_is_enough():
    # Steps of 1.2e-10, the distance of neighbouring numbers at a million.
    rounded = 1e6 + 1.2e-10 * torch.arange(8.0).double()[:, None] % 3 * torch.ones(8, 2).double()
    assert float(rounded.var(0).max()) > 1e-24
    with pytest.raises(InputError, match="layer: is the same in all 8 rows"):
        moments(rounded)
    _, covariance = moments(torch.cat([torch.ones(9, 1).double(), normal(0, 9, 1)], 1))
    assert covariance[0, 0] == 0 < covariance[1, 1]


def test_unless_told_eigenvalues_below_a_billionth_are_dropped():
    variances = torch.tensor([1.0, 2e-9, 5e-10]).double()
    eye = torch.eye(3).double()
    assert len(basis_of(variances, variances.diag(), eye).eigenvalues) == 2
    assert len(basis_of(variances, eye, variances.diag()).eigenvalues) == 2
    part, values = small_network(2, (3, 4, 3)), normal(9, 6, 3)
    plain, told = (gradient_moment(part, values, eye, 1, **seed) for seed in ({}, {"seed": 0}))
    assert torch.equal(plain, told)


def test_a_tolerance_is_relative_to_the_largest_eigenvalue():
    values, _ = principal(torch.diag(torch.tensor([10.0, 1.0, 0.9]).double()), 0.095)
    assert values.tolist() == [10.0, 1.0]


def test_the_gauge_takes_the_mean_of_each_group():
    logits = normal(0, 3, 5)
    expected = torch.cat([logits[:, :2] - logits[:, :2].mean(1, keepdim=True),
                          logits[:, 2:] - logits[:, 2:].mean(1, keepdim=True)], dim=1)  # fmt: skip
    torch.testing.assert_close(logits @ logit_gauge([2, 3]), expected)


def test_units_that_fire_together_are_a_block_and_the_constant_with_those_that_always_do():
    fires = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 0], [1, 0, 1, 1, 0]]).bool()
    assert synchronised(fires) == [([0, 3], [0, 3]), ([2], [2, 5])]
