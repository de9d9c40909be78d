import pytest
import torch
from torch import nn

from winnow.dictionaries.interaction_basis import Basis
from winnow.dictionaries.local_interaction_basis import local_interaction_basis
from winnow.evaluate.basis_ablation import (
    Edges,
    counts_to,
    direction_losses,
    edge_losses,
    greedy_order,
    smallest,
    strongest,
    with_directions,
)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    parts = [nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, 3)]
    parts = [part.double().requires_grad_(False) for part in parts]
    x = normal(0, 200, 4)
    bases = local_interaction_basis(parts, x, torch.eye(3).double(), "jacobian", 1e-12)
    return parts, x, parts[0](x), bases


def test_all_directions_and_all_edges_reproduce_the_network(network):
    parts, x, hidden, bases = network
    every = torch.ones(len(bases[1].eigenvalues), dtype=torch.bool)
    torch.testing.assert_close(parts[1](with_directions(hidden, bases[1], every)), parts[1](hidden), rtol=0, atol=1e-9)
    kept = torch.ones(len(bases[1].eigenvalues), 3, dtype=torch.bool)
    torch.testing.assert_close(Edges(parts[1], hidden, bases[1], bases[2])(kept), parts[1](hidden), rtol=0, atol=1e-9)


def test_without_directions_a_layer_is_at_its_mean_and_not_at_zero(network):
    _, _, hidden, bases = network
    none = torch.zeros(len(bases[1].eigenvalues), dtype=torch.bool)
    torch.testing.assert_close(with_directions(hidden, bases[1], none), hidden.mean(0).expand_as(hidden))


def test_each_target_is_computed_from_its_kept_sources_alone():
    part = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double().requires_grad_(False)
    values, mean = normal(1, 7, 2, 3), normal(2, 3)
    eye = torch.eye(3).double()
    source, target = Basis(eye, eye, mean, mean), Basis(eye, eye, 0 * mean, mean)
    kept = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 0]]).bool()
    made = Edges(part, values, source, target)(kept)
    for j in range(3):
        alone = torch.where(kept[:, j], values, mean)
        torch.testing.assert_close(made[..., j], part(alone)[..., j])


def test_the_strongest_are_kept_and_ties_go_by_position():
    strengths = torch.tensor([[1.0, 3.0], [3.0, 2.0]])
    assert strongest(strengths, 0).sum() == 0
    assert strongest(strengths, 1).tolist() == [[False, True], [False, False]]
    assert strongest(strengths, 3).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("needed", range(12))
def test_bisection_finds_the_smallest_count(needed):
    asked = []

    def loss(count):
        asked.append(count)
        return 1.0 - count / 11

    assert smallest(loss, 11, 1.0 - needed / 11) == needed
    assert len(asked) <= 4 and min(asked) >= 0


def test_bisection_asks_for_no_count_below_the_least():
    asked = []
    assert smallest(lambda count: asked.append(count) or 1.0 - count / 11, 11, 0.1, least=6) == 10
    assert min(asked) >= 6


def test_where_no_count_is_enough_all_are_taken():
    assert smallest(lambda count: 1.0, 9, 0.5) == 9


def test_losses_are_those_of_the_network_without_the_rest(network):
    parts, _, hidden, bases = network
    target = parts[1](hidden)

    def loss(output):
        return float((output - target).square().mean())

    rank = len(bases[1].eigenvalues)
    at = direction_losses(parts[1:], hidden, bases[1], loss, torch.arange(rank).flip(0))
    kept = torch.arange(rank) >= rank - 2
    assert at(2) == loss(parts[1](with_directions(hidden, bases[1], kept)))
    assert at(rank) < 1e-18 < at(2) < at(0)
    strengths = normal(3, rank, 3).square()
    edges = edge_losses(parts[1:], hidden, bases[1], bases[2], strengths, loss)
    assert edges(4) == loss(Edges(parts[1], hidden, bases[1], bases[2])(strongest(strengths, 4)))


def plain_basis(values):
    eye = torch.eye(values.shape[1]).double()
    return Basis(eye, eye, values.mean(0), torch.ones(values.shape[1]).double())


def test_directions_are_ordered_by_what_is_lost_without_them():
    values = normal(4, 300, 3)
    weights = torch.tensor([0.0, 5.0, 1.0]).double()
    order = greedy_order(
        [lambda x: x * weights],
        values,
        plain_basis(values),
        lambda out: float((out - values * weights).square().mean()),
    )
    assert order.tolist() == [1, 2, 0]


def test_of_directions_that_stand_for_each_other_one_is_kept_first():
    # What the first or the second say is enough; without either alone nothing is lost, without both all.
    values = normal(5, 300, 3)
    values[:, 1] = values[:, 0]
    target = values[:, 0] + 0.1 * values[:, 2]

    def loss(out):
        said = torch.where(out[:, 0] != values[:, 0].mean(), out[:, 0], out[:, 1])
        return float((said + 0.1 * out[:, 2] - target).square().mean())

    assert greedy_order([lambda x: x], values, plain_basis(values), loss).tolist() == [0, 2, 1]


@pytest.mark.parametrize("rank", [1, 5, 7])
def test_few_directions_are_taken_away_one_by_one(rank):
    values, mixed = normal(6, 200, rank), normal(7, rank, 4)
    target = (values @ mixed).relu()

    def loss(out):
        return float((out - target).square().mean())

    part, basis = (lambda x: (x @ mixed).relu()), plain_basis(values)
    left, order = list(range(rank)), []
    while left:
        losses = {}
        for one in left:
            kept = torch.tensor([i in left and i != one for i in range(rank)])
            losses[one] = loss(part(with_directions(values, basis, kept)))
        gone = min(left, key=lambda one: (losses[one], -one))
        left.remove(gone)
        order.insert(0, gone)
    assert greedy_order([part], values, basis, loss).tolist() == order


def test_many_directions_go_in_rounds_of_a_quarter():
    values, calls = normal(8, 50, 20), []
    weights = torch.arange(20).double()

    def loss(out):
        calls.append(1)
        return float(((out - values) * weights).square().mean())

    order = greedy_order([lambda x: x], values, plain_basis(values), loss)
    # Nothing stands for anything else, so that each is as needed as it is alone.
    alone = (values.var(0, unbiased=False) * weights**2).tolist()
    assert order.tolist() == sorted(range(20), key=lambda i: -alone[i])
    assert len(calls) == 20 + 15 + 12 + 9 + 7 + 6 + 5 + 4 + 3 + 2 + 1


def test_curves_have_points_up_to_the_last():
    assert counts_to(13) == [0, 1, 2, 3, 4, 6, 8, 12, 13]
    assert counts_to(1) == [0, 1] and counts_to(0) == [0]
    assert counts_to(2**30)[-4:] == [3 * 2**27, 2**29, 3 * 2**28, 2**30]
