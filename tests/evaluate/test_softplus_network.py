"""The network of softplus units against its formula, its optimum and finite differences."""

import numpy as np
import pytest
import torch

from tests.evaluate.recourse_rows import data, one_thread  # noqa: F401  a fixture
from winnow.evaluate.softplus_network import SoftplusNetwork


def test_the_network_is_what_its_formula_says():
    net = SoftplusNetwork(2, 3, beta=4.0)
    theta = net.initial(1)
    assert len(theta) == net.parameters == 2 * 3 + 3 + 9 + 3 + 3 + 1
    w1, b1 = theta[:6].view(3, 2), theta[6:9]
    w2, b2 = theta[9:18].view(3, 3), theta[18:21]
    w3, b3 = theta[21:24], theta[24]
    x = torch.tensor([[0.3, -0.7]], dtype=torch.float64)

    def unit(z):
        return (torch.log1p(torch.exp(4 * z)) - np.log(2)) / 4

    expected = unit(unit(x @ w1.T + b1) @ w2.T + b2) @ w3 + b3
    assert torch.allclose(net(theta, x), expected, atol=1e-12)
    other = net.initial(2)
    both = net(torch.stack([theta, other])[:, None], torch.stack([x, 2 * x])[None])
    expected = torch.stack([torch.cat([net(t, x), net(t, 2 * x)]) for t in (theta, other)])
    assert torch.allclose(both[..., 0], expected, atol=1e-12)
    assert net.penalty(0.5).unique().tolist() == [0, 0.5] and (net.penalty(0.5) == 0).sum() == 7


def test_a_fit_is_a_minimum_and_its_gradients_are_finite_differences():
    x, y = (torch.from_numpy(part) for part in data())
    net = SoftplusNetwork(3, 4)
    theta = net.fit(x, y, 0.02, net.initial(0)).requires_grad_()
    losses = torch.nn.functional.softplus((1 - 2 * y) * net(theta, x)).mean()
    (losses + (net.penalty(0.02) * theta**2).sum() / 2).backward()
    assert theta.grad.abs().max() < 1e-5
    theta = theta.detach()
    rows = net.gradients(theta, x[:2])
    step = 1e-6 * torch.eye(net.parameters, dtype=torch.float64)
    for i in (0, 7, net.parameters - 1):
        numeric = (net(theta + step[i], x[:2]) - net(theta - step[i], x[:2])) / 2e-6
        assert torch.allclose(rows[:, i], numeric, atol=1e-7)


def test_starts_are_gaussian_of_variance_one_over_inputs_with_biases_of_zero():
    net = SoftplusNetwork(50, 60)
    theta = net.initial(0)
    assert torch.equal(theta, net.initial(0)) and not torch.equal(theta, net.initial(1))
    assert float(theta[: 50 * 60].std()) == pytest.approx(50**-0.5, rel=0.05)
    assert (theta[50 * 60 : 50 * 60 + 60] == 0).all()
