import re

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from winnow.dictionaries.interaction_basis import Basis
from winnow.errors import InputError
from winnow.evaluate.interaction_modules import (
    edge_strengths,
    functional_strengths,
    integration,
    layered_graph,
    louvain,
    modularity,
    modules,
    shuffled,
    smallest_needed,
)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(width, mean=None):
    eye = torch.eye(width).double()
    return Basis(eye, eye, torch.zeros(width).double() if mean is None else mean, torch.ones(width).double())


def random_graph(seed, nodes=12):
    weights = np.triu(np.random.default_rng(seed).random((nodes, nodes)) ** 4, 1)
    return weights + weights.T


def cliques(sizes):
    graph = 0.01 * (1 - np.eye(sum(sizes)))
    start = 0
    for size in sizes:
        graph[start : start + size, start : start + size] = 1 - np.eye(size)
        start += size
    return graph


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.0]))
def test_modularity_is_that_of_networkx(seed, gamma):
    graph, labels = random_graph(seed), np.random.default_rng(seed + 1).integers(3, size=12)
    parts = [set(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    expected = networkx.community.modularity(networkx.from_numpy_array(graph), parts, resolution=gamma)
    assert modularity(graph, labels, gamma) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_louvain_is_as_good_as_that_of_networkx(seed):
    graph = random_graph(seed, 30)
    best = max(
        modularity(
            graph, labels_of(networkx.community.louvain_communities(networkx.from_numpy_array(graph), seed=s), 30)
        )
        for s in range(3)
    )
    found = louvain(graph, seed=seed)
    assert modularity(graph, found) >= best - 0.02
    assert (found == louvain(graph, seed=seed)).all()


def labels_of(parts, nodes):
    labels = np.zeros(nodes, int)
    for number, part in enumerate(parts):
        labels[list(part)] = number
    return labels


def test_louvain_finds_cliques_and_numbers_them_in_order():
    assert louvain(cliques([3, 5, 4])).tolist() == [0] * 3 + [1] * 5 + [2] * 4
    assert len(set(louvain(cliques([3, 5, 4]), gamma=0.01))) == 1
    assert louvain(cliques([3, 4]), gamma=100).tolist() == list(range(7))


def test_no_node_can_move_and_gain():
    graph = random_graph(3, 15)
    labels = louvain(graph)
    best = modularity(graph, labels)
    for node in range(15):
        for label in range(labels.max() + 1):
            moved = labels.copy()
            moved[node] = label
            assert modularity(graph, moved) <= best + 1e-9


def test_a_graph_without_edges_has_no_modularity_and_each_node_alone():
    assert modularity(np.zeros((3, 3)), np.arange(3)) == 0
    assert louvain(np.zeros((3, 3))).tolist() == [0, 1, 2]


def test_edges_of_a_linear_part_are_variances_times_squared_weights():
    part, values = nn.Linear(3, 2).double(), normal(0, 50, 3)
    mean = values.mean(0)
    found = edge_strengths(part, values, plain(3, mean), plain(2))
    expected = part.weight.detach().T.square() * (values - mean).square().mean(0)[:, None]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for rule in ("trapezoid", "gauss"):
        integrated = edge_strengths(part, values, plain(3, mean), plain(2), rule, 3)
        torch.testing.assert_close(integrated, expected, rtol=1e-10, atol=1e-12)


def test_integrated_edges_of_a_sum_of_squares_by_hand():
    values = normal(1, 40, 2)
    found = edge_strengths(lambda x: x.square().sum(-1, keepdim=True), values, plain(2), plain(1), "gauss", 4)
    torch.testing.assert_close(
        found[:, 0], values.pow(4).mean(0)
    )  # of each, the integral of 2 a x times x is x squared
    alone = edge_strengths(lambda x: x.square().sum(-1, keepdim=True), values, plain(2), plain(1))
    torch.testing.assert_close(alone[:, 0], 4 * values.pow(4).mean(0))


def test_functional_shares_of_a_target_add_up_to_its_mean_squared_difference():
    part, values = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), normal(5, 30, 2, 3)
    mean = values.mean((0, 1))
    found = functional_strengths(part, values, plain(3, mean), plain(2), points=12)
    difference = (part(values) - part(mean.expand(30, 2, 3))).square().sum(1).mean(0)
    torch.testing.assert_close(found.sum(0), difference, rtol=1e-8, atol=1e-10)
    coarse = functional_strengths(part, values, plain(3, mean), plain(2), "trapezoid", 200)
    torch.testing.assert_close(coarse, found, rtol=1e-2, atol=1e-4)


def test_functional_shares_in_a_linear_part_by_hand():
    part, values = nn.Linear(3, 2, bias=False).double(), normal(6, 30, 3)
    found = functional_strengths(part, values, plain(3), plain(2))
    weight = part.weight.detach()
    expected = torch.einsum("ni,ij,nj->ij", values, weight.T, values @ weight.T) / 30
    torch.testing.assert_close(found, expected)


def test_shares_of_positions_are_summed_before_the_square_and_those_of_outputs_after():
    values = normal(2, 30, 3, 2)
    found = edge_strengths(lambda x: x.sum(1, keepdim=True).expand(-1, 2, -1), values, plain(2), plain(2))
    torch.testing.assert_close(found, (2 * values.sum(1).square().mean(0)).diag())


def test_a_part_may_read_all_positions_and_make_one():
    values, weight = normal(8, 30, 3, 2), normal(9, 2, 2)
    found = edge_strengths(lambda x: x[:, 1:].sum(1) @ weight, values, plain(2), plain(2))
    torch.testing.assert_close(found, values[:, 1:].sum(1).square().mean(0)[:, None] * weight.square())


def test_random_signs_estimate_edges_without_bias():
    part, values = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double(), normal(4, 200, 3, 2)
    exact = edge_strengths(part, values, plain(2), plain(3))
    found = edge_strengths(part, values, plain(2), plain(3), sources=60)
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.02)


def test_one_position_is_the_same_as_none():
    part, values = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double(), normal(3, 20, 3)
    with_position = edge_strengths(part, values[:, None], plain(3), plain(2))
    torch.testing.assert_close(with_position, edge_strengths(part, values, plain(3), plain(2)))


def test_rules_of_integration_integrate():
    for rule, points, degree in (("trapezoid", 2, 1), ("gauss", 2, 3), ("gauss", 4, 7)):
        places, weights = integration(rule, points)
        assert (weights * places**degree).sum() == pytest.approx(1 / (degree + 1))
    assert [list(part) for part in integration("gradient", 1)] == [[1.0], [1.0]]
    assert list(integration("trapezoid", 3)[1]) == [0.25, 0.5, 0.25]
    with pytest.raises(InputError, match="points: 1 do not span"):
        integration("gauss", 1)


def test_the_weakest_edge_that_is_needed_is_found():
    strengths = [torch.tensor([[1.0, 0.0], [8.0, 2.0]]), torch.tensor([[4.0], [3.0]])]

    def loss(threshold):
        return sum(float(s[s < threshold].sum()) for s in strengths)

    assert [smallest_needed(strengths, loss, allowed) for allowed in (0.5, 1.0, 3.0, 5.9, 6.0, 99.0)] == [
        1,
        2,
        3,
        3,
        4,
        8,
    ]
    with pytest.raises(InputError, match="none has any strength"):
        smallest_needed([torch.zeros(2, 2)], loss, 1.0)


def test_the_graph_has_logarithms_of_strengths_between_neighbouring_layers():
    strengths = [torch.tensor([[10.0, 0.0, 0.5]]).double(), torch.tensor([[1000.0], [1.0], [100.0]]).double()]
    graph = layered_graph(strengths, 1.0)
    expected = np.zeros((5, 5))
    expected[0, 1], expected[1, 4], expected[3, 4] = 1, 3, 2
    np.testing.assert_allclose(graph, expected + expected.T)
    found = modules(strengths, 1.0)
    assert [layer.tolist() for layer in found.labels] == [[0], [0, -1, 0], [0]]
    assert found.modularity == pytest.approx(0)


def test_modules_side_by_side_are_found():
    blocks = torch.block_diag(torch.full((3, 3), 100.0), torch.full((2, 2), 50.0))
    found = modules([blocks, blocks], 1.0)
    assert [layer.tolist() for layer in found.labels] == [[0, 0, 0, 1, 1]] * 3
    assert found.modularity == pytest.approx(0.398, abs=1e-3)


def test_shuffled_edges_are_the_same_elsewhere():
    strengths = [normal(0, 4, 5), normal(1, 5, 6)]
    for own, other in zip(strengths, shuffled(strengths, 0), strict=True):
        assert own.shape == other.shape and not own.equal(other)
        assert own.flatten().sort().values.equal(other.flatten().sort().values)
    assert re.match("tensor", str(shuffled(strengths, 0)[0])) and shuffled(strengths, 0)[0].equal(
        shuffled(strengths, 0)[0]
    )
