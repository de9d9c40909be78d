"""Networks and their recourses: minima by their gradients, true refits, and surrogates that are tangents."""

import numpy as np
import pytest
import torch

from tests.evaluate.recourse_rows import data, one_thread  # noqa: F401  a fixture
from winnow.errors import InputError
from winnow.evaluate import recourse_networks
from winnow.evaluate.recourse_networks import (
    FittedNetwork,
    network_recourse,
    network_validity,
    surrogate_recourse,
    surrogates,
)
from winnow.evaluate.robust_recourse import outputs


@pytest.fixture(scope="module")
def network():
    x, y = data()
    return FittedNetwork(x, y, 0.02, seed=0, width=4)


def test_a_fit_is_a_minimum_and_its_gradients_are_finite_differences(network):
    net, theta = network.network, network.theta.clone().requires_grad_()
    losses = torch.nn.functional.softplus((1 - 2 * network.y) * net(theta, network.x)).mean()
    (losses + (net.penalty(0.02) * theta**2).sum() / 2).backward()
    assert theta.grad.abs().max() < 1e-5
    rows = net.gradients(network.theta, network.x[:2])
    step = 1e-6 * torch.eye(net.parameters, dtype=torch.float64)
    for i in (0, 7, net.parameters - 1):
        numeric = (net(network.theta + step[i], network.x[:2]) - net(network.theta - step[i], network.x[:2])) / 2e-6
        assert torch.allclose(rows[:, i], numeric, atol=1e-7)


def test_refits_of_the_network_end_in_minima_of_the_remaining_rows(network):
    deleted = np.zeros((3, 60), bool)
    deleted[1, :4] = deleted[2, 30:40] = True
    thetas = network.refits(deleted).requires_grad_()
    for theta, gone in zip(thetas, deleted, strict=True):
        kept = torch.from_numpy(~gone)
        losses = torch.nn.functional.softplus((1 - 2 * network.y) * network.network(theta, network.x))[kept].sum() / 60
        objective = losses + (network.network.penalty(0.02) * theta**2).sum() / 2
        assert torch.autograd.grad(objective, thetas, retain_graph=True)[0].abs().max() < 1e-4
    assert torch.allclose(thetas[0], network.theta, atol=1e-2)


def test_the_linearised_network_predicts_the_direction_of_true_refits(network):
    point = network.x[:1].numpy()
    phi = network.network.gradients(network.theta, network.x[:1]).numpy()[0]
    before = float(network.network(network.theta, network.x[:1]))
    predicted, true = [], []
    for row in range(0, 60, 6):
        gone = np.isin(np.arange(60), [row])
        after = network.refits(gone[None])[0]
        true.append(float(network.network(after, network.x[:1])) - before)
        predicted.append(float(network.influence.scores(phi)[row]) / 60)
    assert np.corrcoef(predicted, true)[0, 1] > 0.9
    assert network.deletions(point, 3).sum() == 3


def test_recourses_of_the_network_satisfy_it_and_its_shifted_copies(network):
    rejected = network.network(network.theta, network.x) < 0
    x = network.x[rejected][:3].numpy()
    plain = network_recourse(network, x, 0)
    robust = network_recourse(network, x, 4)
    rounds = network_recourse(network, x, 4, rounds=3)
    points = torch.from_numpy(robust)
    assert (network.network(network.theta, torch.from_numpy(plain)) >= 1e-3).all()
    assert (network.network(network.theta, points) >= 1e-3).all()
    shifted = network.shifted(x, 4)
    assert all(float(network.network(t, p[None])) >= 1e-3 for t, p in zip(shifted, points, strict=True))
    cost = {name: np.linalg.norm(p - x, axis=1).mean() for name, p in (("p", plain), ("r", robust), ("m", rounds))}
    assert cost["p"] < cost["r"] <= cost["m"] * 1.05
    truth = network_validity(network, plain, 4)
    rows = network.deletions(plain, 4)
    assert truth[0] == pytest.approx(float(network.network(network.refits(rows)[0], torch.from_numpy(plain[:1]))))
    assert np.isnan(network_validity(network, np.full((1, 3), np.nan), 4)).all()


def test_surrogates_of_a_network_that_is_nearly_linear_are_its_tangents():
    x, y = data()
    flat = FittedNetwork(x, y, 0.05, seed=0, width=3)
    flat.theta = flat.theta * 0.05
    found = surrogates(flat, x[:4], seed=0)
    for theta, row in zip(found, flat.x[:4], strict=True):
        leaf = row.clone().requires_grad_()
        flat.network(flat.theta, leaf[None]).sum().backward()
        assert np.allclose(theta[:-1], leaf.grad.numpy(), atol=1e-4)
        assert outputs(row.numpy(), theta) == pytest.approx(float(flat.network(flat.theta, row[None])), abs=1e-4)


def test_recourses_by_surrogates_are_accepted_by_the_network(network):
    rejected = network.network(network.theta, network.x) < 0
    x = network.x[rejected][:3].numpy()
    for options in ({}, {"delta": 0.05}, {"cuts": "iterative"}):
        points = surrogate_recourse(network, x, 3, 0, **options)
        known = np.isfinite(points).all(axis=1)
        assert known.any()
        assert (network.network(network.theta, torch.from_numpy(points[known])) >= 1e-3 - 1e-9).all()


def test_a_network_too_large_to_invert_is_named():
    x, y = data(20, 40)
    with pytest.raises(InputError, match="parameters make a Hessian too large"):
        FittedNetwork(x, y, 0.1, seed=0)


def test_a_recourse_that_falls_short_is_stretched_by_the_least_factor_that_the_network_accepts(network):
    """Along a line to a point that the network accepts: a start at a part of the way is stretched to its border."""
    rejected = network.network(network.theta, network.x) < -0.2
    x = network.x[rejected][:4].numpy()
    goal = network_recourse(network, x, 0)
    until = recourse_networks._until_accepted
    for share in (1.0, 0.5, 0.2):
        found = until(network, x, x + share * (goal - x), 1e-3)
        values = network.network(network.theta, torch.from_numpy(found)).numpy()
        assert (values >= 1e-3).all()
        if share < 1:
            before = network.network(network.theta, torch.from_numpy(x + 0.999 * (found - x))).numpy()
            assert (before < 1e-3).all()  # no farther than it must
    assert until(network, x, goal, 1e-3) == pytest.approx(goal, rel=1e-12)
    assert np.isnan(until(network, x, x + 0.05 * (goal - x), 1e-3)).all()  # eight times that is less than half the way


def test_nothing_erased_is_the_network_itself(network):
    x = network.x[:2].numpy()
    assert torch.allclose(network.shifted(x, 0), network.theta.expand(2, -1))
    assert not network.deletions(x, 0).any()
    least = network_validity(network, x, 0)
    assert np.allclose(least, network.network(network.theta, network.x[:2]).numpy(), atol=1e-2)
