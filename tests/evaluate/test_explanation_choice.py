"""Losses and perturbation tests against their definitions, one draw at a time."""

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeRegressor
from torch import nn

from winnow.attribution.perturbation import from_numpy
from winnow.errors import InputError
from winnow.evaluate.explanation_choice import choose, distances, faithfulness, losses, perturbation_test, slopes
from winnow.evaluate.local_approximation import ADDITIVE, METHODS, Explainer, Explanation
from winnow.evaluate.native_explanations import NATIVE
from winnow.evaluate.neighbourhoods import gaussian, masks, replacement
from winnow.randomness import torch_generator


def net(features=5, outputs=1, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, outputs)).double()
        model[0].weight.data *= 3
        return model.requires_grad_(False)


def points(n=6, features=5, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("explained", ["lime", "gradient"])
def test_the_loss_is_the_definition_one_draw_at_a_time(name, explained):
    f, x = net(outputs=2), points(2)
    target = f(x).argmax(1)
    explanation = METHODS[explained].explain(f, x, 200)
    explainer = METHODS[name]
    found = faithfulness(f, x, explanation, explainer, samples=40, seed=3)
    here = explainer.neighbourhood(f, x, 40, target, torch_generator(3, "faithfulness", explainer.noise.name))
    for i in range(2):
        score = lambda rows, i=i: f(rows)[:, target[i]]  # noqa: E731
        w = explanation.weights[i] if explained == "gradient" else explanation.weights[i] / x[i]
        w = w if name in ADDITIVE else w * x[i]
        z, weight = here.z[i], here.weights[i] / here.weights[i].sum()
        if explainer.loss == "gradient":
            moved = (lambda rows, i=i: x[i] + rows) if name in ADDITIVE else (lambda rows, i=i: x[i] * rows)
            z = z.clone().requires_grad_()
            (gradients,) = torch.autograd.grad(score(moved(z)).sum(), z)
            expected = float((weight * ((gradients - w) ** 2).sum(1)).sum())
        elif name == "c_lime":
            off = score(x[i] + z) - z @ w
            expected = float((weight * (off - (weight * off).sum()) ** 2).sum())
        elif name == "occlusion":
            off = score(x[i : i + 1]) - score(x[i] - x[i] * z) - z @ w
            expected = float((off**2).mean())
        elif name == "lime":
            off = score(x[i] * z) - z @ w
            expected = float((weight * (off - (weight * off).sum()) ** 2).sum())
        else:
            whole = score(x[i : i + 1]) - score(0 * x[i : i + 1])
            w = w + (whole - w.sum()) / 5
            expected = float((weight * (score(x[i] * z) - score(0 * x[i : i + 1]) - z @ w) ** 2).sum())
        assert float(found[i]) == pytest.approx(expected, rel=1e-9)


def test_each_method_has_the_lowest_loss_in_its_own_neighbourhood():
    f, x = net(), points(20)
    explanations = {name: method.explain(f, x, 2000) for name, method in METHODS.items()}
    for name, method in METHODS.items():
        by_draw = losses(f, x, explanations, method, 2000)
        own = list(METHODS).index(name)
        gap = (by_draw - by_draw[own]).sum(-1).mean(1)
        error = (by_draw - by_draw[own]).std(-1).pow(2).mul(2000).sum(1).sqrt() / 20
        # What a fit to 2,000 draws loses against the best fit, in its own class.
        excess = (explanations[name].error ** 2).sum(1).mean()
        assert (gap > -3 * error - excess - 1e-9).all(), (name, gap, error)


def test_weights_are_carried_from_one_scale_to_the_other():
    x = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    w = torch.tensor([[3.0, 5.0, 7.0]], dtype=torch.float64)
    rest = (torch.zeros(1), torch.zeros(1), torch.zeros(1, 3))
    gradient = Explanation(w, *rest, torch.ones_like(x), "w", torch.ones(1))
    times_input = Explanation(w, *rest, x, "wx", torch.ones(1))
    assert slopes(gradient, x, gaussian()).tolist() == [[3, 5, 7]]
    assert slopes(gradient, x, masks()).tolist() == [[6, 0, -7]]
    assert slopes(times_input, x, masks()).tolist() == [[3, 5, 7]]
    assert slopes(times_input, x, gaussian()).tolist() == [[1.5, 0, -7]]
    other = replacement(torch.ones(4, 3, dtype=torch.float64))
    assert slopes(gradient, x, other).tolist() == [[3, -5, -14]]
    assert slopes(times_input, x, other).tolist() == [[1.5, 0, 14]]


def test_the_method_of_the_neighbourhood_is_chosen_and_ties_are_marked():
    f, x = net(), points(12)
    table = choose(f, x, METHODS["lime"], samples=500)
    assert table["method"][0].as_py() == "lime" and table["tied"][0].as_py() and table["rank"].to_pylist()[-1] == 8
    found = table["loss"].to_pylist()
    assert found == sorted(found)
    explanation = METHODS["smoothgrad"].explain(f, x, 500)
    by_point = faithfulness(f, x, explanation, METHODS["lime"], 500).numpy()
    row = table.to_pylist()[table["method"].to_pylist().index("smoothgrad")]
    assert row["loss"] == pytest.approx(by_point.mean()) and row["se"] == pytest.approx(by_point.std(ddof=1) / 12**0.5)
    assert not row["tied"]
    # Two names of one method are equally good.
    twice = choose(f, x, METHODS["lime"], {"a": METHODS["lime"], "b": METHODS["lime"]}, 500)
    assert twice["tied"].to_pylist() == [True, True]


def test_methods_that_need_a_gradient_are_left_out_where_there_is_none():
    x = points(30)
    tree = DecisionTreeRegressor(random_state=0, max_depth=3).fit(x.numpy(), x.numpy().sum(1))
    table = choose(from_numpy(tree.predict), x[:5], METHODS["lime"], samples=200)
    assert set(table["method"].to_pylist()) == {"lime", "kernel_shap", "occlusion", "c_lime"}


@pytest.mark.parametrize("end", ["bottom", "top"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_perturbation_tests_are_the_definition(end, k):
    f, x = net(outputs=2), points(4)
    weights = points(4, seed=1)
    target = f(x).argmax(1)
    found = perturbation_test(f, x, weights, k, "binary", end)
    noisy = perturbation_test(f, x, weights, k, "continuous", end, noise=0.3, repeats=7, seed=2)
    drawn = torch.randn(4, 7, 5, generator=torch_generator(2, "perturbation test"), dtype=torch.float64) * 0.3
    for i in range(4):
        ranked = sorted(range(5), key=lambda j: abs(float(weights[i, j])), reverse=end == "top")
        without = x[i].clone()
        without[ranked[:k]] = 0
        score = lambda rows, i=i: f(rows)[:, target[i]]  # noqa: E731
        expected = abs(float(score(x[i : i + 1]) - score(without[None])))
        assert float(found[i]) == pytest.approx(expected, abs=1e-12)
        moved = x[i].repeat(7, 1)
        moved[:, ranked[:k]] += drawn[i][:, ranked[:k]]
        assert float(noisy[i]) == pytest.approx(float((score(moved) - score(x[i : i + 1])).abs().mean()), abs=1e-12)


def test_of_equal_weights_the_first_feature_is_perturbed():
    f = lambda rows: rows @ torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)  # noqa: E731
    x, weights = torch.ones(1, 3, dtype=torch.float64), torch.ones(1, 3)
    assert perturbation_test(f, x, weights, 1).tolist() == [1.0]
    assert perturbation_test(f, x, weights, 2, end="top").tolist() == [11.0]


def test_distances_are_the_definition():
    first = {"a": points(3), "b": points(3, seed=1)}
    second = {"c": points(3, seed=2), "zero": torch.zeros(3, 5, dtype=torch.float64)}
    for kind in ("l1", "cosine"):
        found = distances(first, second, kind)
        for i, u in enumerate(first.values()):
            for j, v in enumerate(second.values()):
                a, b = u.numpy(), v.numpy()
                if kind == "l1":
                    expected = np.abs(a - b).sum(1).mean()
                else:
                    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
                    expected = 1.0 if j else (1 - (a * b).sum(1) / length).mean()
                assert float(found[i, j]) == pytest.approx(expected)
    assert distances(first, first, "cosine").diagonal().abs().max() < 1e-12


def test_native_and_framework_are_nearest_to_themselves():
    f, x = net(), points()
    framework = {name: method.explain(f, x, 2000).weights for name, method in METHODS.items()}
    native = {name: method(f, x, None, 2000, 0) for name, method in NATIVE.items()}
    for kind in ("l1", "cosine"):
        off = distances(framework, native, kind)
        equal = {"c_lime", "smoothgrad", "gradient"}  # one limit: they differ by sampling and curvature alone
        for i, a in enumerate(METHODS):
            for j, b in enumerate(METHODS):
                if i != j and not {a, b} <= equal:
                    assert off[i, i] < off[i, j] and off[i, i] < off[j, i]


@pytest.mark.parametrize("k", [0, 6])
def test_bad_arguments_are_named(k):
    with pytest.raises(InputError, match=f"k is {k}; perturb 1 to 5 of the 5"):
        perturbation_test(net(), points(), points(), k)
    with pytest.raises(InputError, match="logistic family"):
        losses(net(), points(), {}, Explainer(masks(), family="logistic"))
