"""Eight explanations are eight cases of one fit: against their own definitions, captum and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from torch import nn

from winnow.attribution.perturbation import every_mask, from_numpy, kernel_shap
from winnow.errors import InputError
from winnow.evaluate import local_approximation
from winnow.evaluate.local_approximation import (
    ADDITIVE,
    METHODS,
    MULTIPLICATIVE,
    RECOVERED,
    Explainer,
    Explanation,
    design,
    input_gradients,
)
from winnow.evaluate.native_explanations import NATIVE
from winnow.evaluate.neighbourhoods import (
    Noise,
    by_size,
    gaussian,
    masks,
    near,
    one_at_a_time,
    replacement,
    shrinking,
    sized_masks,
)
from winnow.randomness import torch_generator


def net(features=5, outputs=1, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, outputs)).double().requires_grad_(False)


def points(n=3, features=5, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


def linear(d=5, seed=3):
    w = torch.randn(d, generator=torch_generator(seed, "linear"), dtype=torch.float64)
    return w, lambda rows: rows @ w + 0.7


def test_the_two_groups_are_those_of_the_paper():
    assert MULTIPLICATIVE == ("lime", "kernel_shap", "occlusion", "integrated_gradients", "gradient_input")
    assert ADDITIVE == ("c_lime", "smoothgrad", "gradient") and list(METHODS) == list(NATIVE)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_recovers_a_linear_function_to_a_millionth(name):
    w, f = linear()
    x = points()
    found = METHODS[name].explain(f, x, 300)
    truth = w.expand_as(x) if name in ADDITIVE else w * x
    assert found.scale == ("w" if name in ADDITIVE else "wx")
    # Shrinking by 1 - 1e-3 to 1 or noise of 1e-3 are limits, and exact for a linear function nevertheless.
    assert (found.weights - truth).abs().max() < 1e-9 and (found.error < 1e-9).all()
    if name in ("lime", "c_lime"):
        assert torch.allclose(found.bias, torch.tensor(0.7).double() if name == "lime" else f(x), atol=1e-9)
    native = NATIVE[name](f, x, None, 300, 0)
    if name != "c_lime":  # Stein's identity holds on average only
        assert (native - truth).abs().max() < 1e-9


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_framework_and_the_method_itself_agree_up_to_sampling_error(name, outputs):
    f, x = net(outputs=outputs), points()
    target = None if outputs == 1 else f(x).argmax(1)
    found = METHODS[name].explain(f, x, 4000)
    native = NATIVE[name](f, x, target, 4000, 0)
    # Both sides err where both draw; the limits are 1e-3 away, and f bends by about 1.
    assert ((found.weights - native).abs() < 6 * found.error + (0.02 if name == "c_lime" else 0) + 2e-3).all()


def test_occlusion_is_exact_in_the_framework():
    f, x = net(), points()
    assert torch.allclose(METHODS["occlusion"].explain(f, x).weights, NATIVE["occlusion"](f, x, None, 0, 0), atol=1e-12)


def test_shapley_values_of_the_framework_sum_exactly_and_converge_to_the_exact_ones():
    f, x = net(), points()
    exact = kernel_shap(f, x, samples=30, generator=torch_generator(0)).coefficients
    off = []
    for samples in (100, 10_000):
        found = METHODS["kernel_shap"].explain(f, x, samples)
        whole = (f(x) - f(0 * x))[:, 0]
        assert torch.allclose(found.weights.sum(1), whole, atol=1e-12)
        assert torch.allclose(found.bias, f(0 * x)[:, 0])
        off.append(float((found.weights - exact).abs().max()))
    assert off[1] < off[0] / 3 and off[1] < 0.01


def test_shapley_values_sum_to_what_a_centre_of_ones_own_lacks():
    f, x, centre = net(), points(), points(1, seed=9)[0]
    noise = replace(sized_masks(), centre=centre)
    found = Explainer(noise, kernel=by_size, bias=False, anchored=True).explain(f, x, 200)
    nothing = f(centre[None])[0, 0]
    assert torch.allclose(found.weights.sum(1), f(x)[:, 0] - nothing, atol=1e-12)
    assert torch.allclose(found.bias, nothing.expand(3)) and torch.equal(found.span, x - centre)


def test_unless_told_a_thousand_draws_of_the_first_seed_explain_the_largest_output():
    f, x = net(outputs=3), points(2)
    for name in ("c_lime", "smoothgrad"):
        usual = METHODS[name].explain(f, x)
        told = METHODS[name].explain(f, x, 1000, f(x).argmax(1), 0)
        assert torch.equal(usual.weights, told.weights) and torch.equal(usual.bias, told.bias)
    assert RECOVERED == 1e-6


def test_the_limit_of_shrinking_is_a_thousandth_away():
    z = METHODS["gradient_input"].noise.draw(points(1), 1000, torch_generator(0))
    assert 1 - 1e-3 <= z.min() < 1 - 0.9e-3 and 1 - 0.1e-3 < z.max() <= 1


@pytest.mark.parametrize(("entries", "rows"), [(1, 1), (3, 1), (4, 2), (100, 12)])
def test_gradients_are_taken_in_calls_of_so_many_entries(monkeypatch, entries, rows):
    monkeypatch.setattr(local_approximation, "ENTRIES_PER_CALL", entries)
    asked = []

    def f(x):
        asked.append(len(x))
        return (x**3).sum(1)

    inputs = torch.arange(24.0, dtype=torch.float64).view(4, 3, 2)
    assert torch.equal(input_gradients(f, inputs, None), 3 * inputs**2)
    assert max(asked) == rows and sum(asked) == 12


def test_lime_of_the_framework_is_the_weighted_regression_on_its_own_draws():
    f, x = net(), points(1)
    explainer = METHODS["lime"]
    found = explainer.explain(f, x, 200, seed=4)
    z = explainer.noise.draw(x, 200, torch_generator(4, "local approximation", "masks"))[0].numpy()
    inputs = x.numpy() * z
    weights = np.exp(-((x.numpy() - inputs) ** 2).sum(1) / (0.75**2 * 5))
    by_sklearn = LinearRegression().fit(z, f(torch.from_numpy(inputs))[:, 0].numpy(), weights)
    assert found.weights[0].numpy() == pytest.approx(by_sklearn.coef_, abs=1e-9)
    assert float(found.bias[0]) == pytest.approx(by_sklearn.intercept_, abs=1e-9)
    assert float(found.effective_samples[0]) == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_kernel_shap_of_the_framework_is_the_regression_without_the_last_weight_that_the_sum_decides():
    f, x = net(), points(1)
    explainer = METHODS["kernel_shap"]
    found = explainer.explain(f, x, 60, seed=4)
    z = explainer.noise.draw(x, 60, torch_generator(4, "local approximation", explainer.noise.name))
    weights = by_size(x, z, x[:, None] * z)[0].numpy()
    nothing, everything = float(f(0 * x)), float(f(x))
    shown, last = z[0, :, :-1].numpy(), z[0, :, -1].numpy()
    lacking = f(x * z[0])[:, 0].numpy() - nothing - last * (everything - nothing)
    others = LinearRegression(fit_intercept=False).fit(shown - last[:, None], lacking, weights).coef_
    expected = [*others, everything - nothing - others.sum()]
    assert found.weights[0].numpy() == pytest.approx(expected, abs=1e-9)


def test_smoothgrad_tends_to_the_gradient_and_integrated_gradients_to_gradient_x_input():
    f, x = net(), points()
    gradient = NATIVE["gradient"](f, x, None, 0, 0)
    by_scale = [Explainer(gaussian(s), "gradient").explain(f, x, 2000).weights for s in (0.5, 0.2, 0.05, 0.01)]
    off = [float((weights - gradient).abs().sum()) for weights in by_scale]
    assert off == sorted(off, reverse=True) and off[-1] < 0.02
    by_start = [Explainer(shrinking(u), "gradient").explain(f, x, 2000).weights for u in (0.0, 0.5, 0.9, 0.99)]
    off = [float((weights - x * gradient).abs().sum()) for weights in by_start]
    assert off == sorted(off, reverse=True) and off[-1] < 0.02


def test_c_lime_and_smoothgrad_agree_as_stein_says():
    f, x = net(), points()
    linear_fit, gradient = (METHODS[name].explain(f, x, 20_000) for name in ("c_lime", "smoothgrad"))
    assert ((linear_fit.weights - gradient.weights).abs() < 5 * (linear_fit.error + gradient.error)).all()


@pytest.mark.parametrize("loss", ["squared", "gradient"])
@pytest.mark.parametrize("noise", [masks(), gaussian(0.5)])
def test_a_logistic_function_is_recovered_by_a_logistic_family_and_not_by_a_linear_one(loss, noise):
    w, line = linear()
    x = points()
    f = lambda rows: torch.sigmoid(line(rows))  # noqa: E731
    found = Explainer(noise, loss, "logistic").explain(f, x, 300)
    truth = w * x if found.scale == "wx" else w.expand_as(x)
    assert (found.weights - truth).abs().max() < 1e-6
    straight = Explainer(noise, loss).explain(f, x, 300)
    assert (straight.weights - truth).abs().max() > 0.1


def test_the_authors_solver_ends_near_the_closed_form():
    f, x = net(), points(2)
    for name in ("lime", "smoothgrad"):
        exact = METHODS[name].explain(f, x, 200)
        one = METHODS[name]
        searched = Explainer(one.noise, one.loss, kernel=one.kernel, solver="adam").explain(f, x, 200)
        assert (searched.weights - exact.weights).abs().max() < 0.05 * exact.weights.abs().max() + 5 * exact.error.max()


@pytest.mark.parametrize("name", METHODS)
def test_permuted_features_permute_weights_and_a_constant_changes_the_bias_alone(name):
    f, x = net(), points()
    order = [3, 0, 4, 2, 1]
    back = [order.index(i) for i in range(5)]
    method = METHODS[name]
    fixed = Noise("fixed", method.noise.kind, lambda x, m, g: every_draw(x))
    permuted = Noise("permuted", method.noise.kind, lambda x, m, g: every_draw(x[:, back])[..., order])
    one = Explainer(fixed, method.loss, kernel=method.kernel, bias=method.bias, anchored=method.anchored)
    other = Explainer(permuted, method.loss, kernel=method.kernel, bias=method.bias, anchored=method.anchored)
    plain = one.explain(f, x)
    turned = other.explain(lambda rows: f(rows[:, back]), x[:, order])
    assert torch.allclose(turned.weights, plain.weights[:, order], atol=1e-10)
    raised = one.explain(lambda rows: f(rows) + 3, x)
    assert torch.allclose(raised.weights, plain.weights, atol=1e-10)
    added = 3.0 if (method.bias or method.anchored) and method.loss == "squared" else 0.0
    assert torch.allclose(raised.bias, plain.bias + added, atol=1e-10)


def every_draw(x):
    return every_mask(x.shape[1])[1:-1].repeat(len(x), 1, 1) * (1 + 0.01 * x[:, None].sin())


def test_designs_that_can_recover_a_function_are_made():
    reference = points(300, 4, seed=9)
    x, f = points(2, 4), net(4)
    for noise in (masks(0.2), gaussian(0.3, torch.eye(4) * 0.5 + 0.5), replacement(reference), shrinking()):
        loss = "gradient" if noise.name.startswith("shrinking") else "squared"
        assert design(noise, loss).explain(f, x).weights.shape == (2, 4)
    assert design(masks(), family="logistic").family == "logistic"
    assert design(one_at_a_time(), bias=False).bias is False
    kernel = design(masks(), kernel=near).kernel
    assert kernel is near


def test_what_is_asked_of_a_design_has_an_offset_where_the_design_has():
    assert not design(masks(), bias=False).bias and design(masks()).bias


@pytest.mark.parametrize("bias", [True, False])
def test_a_design_is_asked_three_times_and_may_be_off_by_rounding_and_five_errors(bias, monkeypatch):
    x, w = torch.randn(2, 3, 5, generator=torch_generator(0, "design"), dtype=torch.float64)
    asked = []

    def off_by(share, error):
        """An explainer that is off in its third feature alone: by a share of the largest weight and so many errors."""

        def explain(self, f, at, samples=0):
            i = len(asked)
            asked.append((at, samples))
            assert f(torch.zeros(1, 5).double()).tolist() == [0.3 if bias else 0.0]
            assert torch.allclose(f(torch.eye(5).double()) - f(torch.zeros(5, 5).double()), w[i])
            errors = torch.full((1, 5), 1e-3).double() if error else torch.zeros(1, 5).double()
            move = torch.zeros(1, 5).double()
            move[0, 2] = share * w[i].abs().max() + error * 1e-3
            nothing = torch.zeros(1).double()
            return Explanation(w[i : i + 1] + move, nothing, nothing, errors, at, "w", nothing)

        monkeypatch.setattr(Explainer, "explain", explain)

    assert w.abs().amax(1).min() > 1.2 and w.abs().amin(1).max() < 0.8  # the largest weight is what counts
    for share, error in ((0.95e-6, 0), (0, 4.9), (0, 0)):
        off_by(share, error)
        asked.clear()
        assert design(gaussian(), bias=bias).bias is bias
        assert [samples for _, samples in asked] == [1000] * 3
        assert all(torch.equal(at, x[i : i + 1]) for i, (at, _) in enumerate(asked))
    for share, error in ((1.05e-6, 0), (0, 5.1)):
        off_by(share, error)
        asked.clear()
        told = f"{share * float(w[0].abs().max()) + error * 1e-3:.2g}"
        with pytest.raises(InputError, match=rf"off by {told}\)"):
            design(gaussian(), bias=bias)
        assert len(asked) == 1


def test_replacing_by_other_rows_explains_by_their_mean():
    w, f = linear(4)
    reference, x = points(500, 4, seed=9) + 1, points(2, 4)
    found = Explainer(replacement(reference)).explain(f, x, 20_000)
    assert ((found.weights - w * (x - reference.mean(0))).abs() < 5 * found.error).all()
    assert torch.allclose(found.span, x - reference.mean(0))


@pytest.mark.parametrize(
    ("noise", "settings"),
    [
        (shrinking(), {}),  # all features move together
        (one_at_a_time(), {}),  # as many draws as features: none is left for a bias
        (Noise("still", "additive", lambda x, m, g: torch.zeros(len(x), m, x.shape[1]).double()), {}),
        (Noise("first", "additive", lambda x, m, g: torch.eye(5).double()[:4].repeat(len(x), 1, 1)), {}),
    ],
)
def test_a_design_that_cannot_recover_a_linear_function_is_refused(noise, settings):
    with pytest.raises(InputError, match=f"noise {noise.name} with loss squared: a linear function is not recovered"):
        design(noise, **settings)


def test_a_design_that_is_off_is_refused_by_how_much():
    # Its baseline is 1 and it says 0.
    ones = Noise("lopsided", "multiplicative", masks().draw, baseline=lambda x, z, g: torch.ones_like(z))
    with pytest.raises(InputError, match=r"noise lopsided .* is not recovered \(off by"):
        design(ones)


def test_a_model_without_gradients_is_explained_by_the_methods_that_need_none():
    x = points(40)
    trees = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(x.numpy(), x.numpy().sum(1))
    f = from_numpy(trees.predict)
    for name, method in METHODS.items():
        if method.loss == "gradient":
            with pytest.raises(TypeError, match="has no gradient"):
                method.explain(f, x[:2], 50)
        else:
            assert method.explain(f, x[:2], 50).weights.isfinite().all(), name


def test_noise_for_other_features_and_a_kernel_too_narrow_are_named():
    with pytest.raises(InputError, match="noise gaussian 0.1 is for 3 features and there are 5"):
        Explainer(gaussian(0.1, torch.eye(3))).explain(net(), points())
    with pytest.raises(InputError, match="effective samples"):
        METHODS["lime"].explain(net(), points() * 1000)
    with pytest.raises(InputError, match="features: there is 1"):
        METHODS["kernel_shap"].explain(net(1), points(2, 1))


def test_draws_depend_on_the_seed_and_on_nothing_else():
    f, x = net(), points()
    first, again, other = (METHODS["lime"].explain(f, x, 100, seed=s).weights for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
