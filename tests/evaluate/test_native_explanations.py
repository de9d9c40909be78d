"""Eight explanations by themselves: exact on linear functions, and those of captum on others."""

from itertools import permutations

import captum.attr
import pytest
import torch
from torch import nn

from winnow.evaluate.native_explanations import NATIVE
from winnow.randomness import torch_generator


def points(n=4, features=5, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


def net(outputs=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, outputs)).double().requires_grad_(False)


def test_gradient_methods_equal_captum():
    f, x = net(outputs=3), points(4)
    target = torch.tensor([0, 2, 1, 1])
    cases = {
        "gradient": captum.attr.Saliency(f).attribute(x, target, abs=False),
        "gradient_input": captum.attr.InputXGradient(f).attribute(x.clone(), target),
        "integrated_gradients": captum.attr.IntegratedGradients(f).attribute(
            x, target=target, n_steps=200, method="riemann_middle"
        ),
        "occlusion": captum.attr.Occlusion(f).attribute(x, (1,), target=target).double(),
    }
    for name, expected in cases.items():
        tolerance = {"occlusion": 1e-6, "integrated_gradients": 1e-7}.get(name, 1e-12)  # captum keeps single precision
        assert (NATIVE[name](f, x, target, 0, 0) - expected).abs().max() < tolerance, name


def test_integrated_gradients_are_complete():
    f, x = net(), points(20)
    total = NATIVE["integrated_gradients"](f, x, None, 0, 0).sum(1)
    assert torch.allclose(total, (f(x) - f(0 * x))[:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NATIVE)
def test_a_linear_function_is_explained_by_its_weights_or_by_what_they_add(name):
    x, w = points(), torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    draws = 40_000 if name == "c_lime" else 400
    found = NATIVE[name](lambda rows: rows @ w + 0.7, x, None, draws, 1)
    expected = w.expand(4, -1) if name in ("c_lime", "smoothgrad", "gradient") else x * w
    # C-LIME is a mean over its draws, of standard deviation sqrt(|w|^2 + w_i^2) <= 4.9 each; five standard errors.
    assert torch.allclose(found, expected, atol=5 * 4.9 / draws**0.5 if name == "c_lime" else 1e-6)


def test_shapley_values_are_means_over_all_orders_of_the_features():
    f, x = net(), points()

    def at(row, shown):
        return float(f(x[row] * torch.tensor([float(i in shown) for i in range(5)]).double()))

    orders = list(permutations(range(5)))
    found = NATIVE["kernel_shap"](f, x, None, 4000, 0)
    for row in (0, 3):
        for feature in range(5):
            gains = []
            for order in orders:
                before = set(order[: order.index(feature)])
                gains.append(at(row, before | {feature}) - at(row, before))
            assert float(found[row, feature]) == pytest.approx(sum(gains) / len(gains), abs=1e-6)


def test_smoothgrad_is_the_gradient_at_a_tenth_of_noise_and_draws_depend_on_the_seed():
    """Of sum x^3 the mean gradient under noise of deviation s is 3 (x^2 + s^2)."""
    x = points()
    found = NATIVE["smoothgrad"](lambda rows: (rows**3).sum(1), x, None, 40_000, 0)
    # A mean of 40,000 draws of about 6 x times a tenth; five standard errors.
    assert torch.allclose(found, 3 * (x.square() + 0.01), atol=5 * 0.6 * 3 / 200)
    for name, random in {name: name in ("lime", "c_lime", "smoothgrad") for name in NATIVE}.items():
        first, again, other = (NATIVE[name](net(), x, None, 60, seed) for seed in (0, 0, 1))
        assert torch.equal(first, again) and torch.equal(first, other) != random, name
