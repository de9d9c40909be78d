"""Perturbation methods against definitions, brute force and the libraries of their authors."""

import warnings
from itertools import combinations, permutations
from math import factorial

import captum.attr
import numpy as np
import pytest
import shap
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lime.lime_base import LimeBase
from sklearn.linear_model import LinearRegression
from torch import nn

from winnow.attribution import perturbation
from winnow.attribution.least_squares import weighted_least_squares
from winnow.attribution.perturbation import (
    c_lime,
    chosen_output,
    evaluate,
    every_mask,
    exponential_kernel,
    kernel_shap,
    lime,
    occlusion,
    predicted_class,
    random_masks,
    show,
    sliding_windows,
)
from winnow.errors import InputError
from winnow.randomness import torch_generator


def net(features=6, outputs=1, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(features, 12), nn.Tanh(), nn.Linear(12, outputs)).double()
        return model.requires_grad_(False)


def points(n=4, features=6, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


def linear(weights, bias=0.0):
    return lambda x: x.flatten(1) @ torch.as_tensor(weights, dtype=torch.float64) + bias


def shapley_by_hand(f, x, baseline, d):
    """The definition: the mean gain of a feature over all orders of joining."""

    def value(members):
        mask = torch.zeros(1, d, dtype=torch.float64)
        mask[0, list(members)] = 1
        return float(f(torch.where(mask > 0, x[None], baseline)))

    total = np.zeros(d)
    for feature in range(d):
        others = [i for i in range(d) if i != feature]
        for size in range(d):
            for members in combinations(others, size):
                share = factorial(size) * factorial(d - size - 1) / factorial(d)
                total[feature] += share * (value([*members, feature]) - value(members))
    return total


@pytest.mark.parametrize("d", [2, 3, 6])
@pytest.mark.parametrize("base", [0.0, 1.5])
def test_with_all_coalitions_values_are_shapley_s_and_sum_to_what_the_input_adds(d, base):
    f, x = net(d), points(3, d)
    fit = kernel_shap(f, x, samples=2**d - 2, baseline=base, generator=torch_generator(0))
    baseline = torch.full((1, d), base, dtype=torch.float64)
    for i in range(3):
        assert fit.coefficients[i].numpy() == pytest.approx(shapley_by_hand(f, x[i], baseline, d), abs=1e-9)
    assert torch.allclose(fit.coefficients.sum(1), (f(x) - f(baseline))[:, 0], atol=1e-12)
    assert torch.allclose(fit.bias, f(baseline)[0], atol=1e-12) and (fit.error == 0).all()


def test_sampled_shapley_values_are_off_by_what_their_errors_say():
    d = 10
    f, x = net(d), points(1, d)
    exact = kernel_shap(f, x, samples=2**d, generator=torch_generator(0)).coefficients
    runs = [kernel_shap(f, x, samples=200, generator=torch_generator(seed)) for seed in range(60)]
    scores = torch.stack([(run.coefficients - exact)[0] / run.error[0] for run in runs])
    assert 0.75 < float(scores.std()) < 1.3 and float(scores.mean().abs()) < 0.2
    assert all(float(run.coefficients.sum() - exact.sum()) == pytest.approx(0, abs=1e-12) for run in runs)
    # Not the same as if nothing were random.
    assert float((runs[0].coefficients - exact).abs().max()) > 1e-6


def test_shapley_values_equal_those_of_shap():
    f, x = net(8), points(3, 8)
    explainer = shap.KernelExplainer(lambda rows: f(torch.from_numpy(rows))[:, 0].numpy(), np.zeros((1, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = explainer.shap_values(x.numpy(), nsamples=1000, l1_reg=False, silent=True)
    found = kernel_shap(f, x, samples=1000, generator=torch_generator(0)).coefficients
    assert found.numpy() == pytest.approx(expected, abs=1e-9)


def test_shapley_values_of_image_regions_are_mean_gains_over_all_orders():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        f = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).double().requires_grad_(False)
        image = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    regions = (torch.arange(36) // 9).view(1, 6, 6)
    target = predicted_class(f, image)
    fit = kernel_shap(f, image, samples=20, regions=regions, target=target, generator=torch_generator(0))
    on_average = np.zeros(4)
    for order in permutations(range(4)):
        mask, before = torch.zeros(1, 4, dtype=torch.float64), None
        for region in (None, *order):
            if region is not None:
                mask[0, region] = 1
            value = float(f(show(image, mask, 0.0, regions))[0, target])
            if region is not None:
                on_average[region] += (value - before) / 24
            before = value
    assert fit.coefficients[0].numpy() == pytest.approx(on_average, abs=1e-9)


def test_limes_kernel_is_the_formula():
    x, inputs = points(1, 2), points(3, 2, seed=1)[None]
    by_hand = [np.exp(-float(((x - p) ** 2).sum()) / 1.7**2) for p in inputs[0]]
    assert exponential_kernel(x, inputs, 1.7)[0].tolist() == pytest.approx(by_hand)


def test_subsets_come_in_the_order_of_binary_numbers():
    assert every_mask(2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert every_mask(15).shape == (2**15, 15)
    with pytest.raises(InputError, match=r"2\^16 subsets"):
        every_mask(16)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_random_masks_show_their_share(share):
    masks = random_masks((200, 50), torch_generator(0), share)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert float(masks.mean()) == pytest.approx(share, abs=5 * 0.5 / 100)


def test_what_is_shown_is_exact_at_both_ends_and_mixed_between():
    x = points(2, 6).view(2, 1, 2, 3)
    base = torch.full((1, 2, 3), 0.1, dtype=torch.float64)
    assert torch.equal(show(x, torch.ones(2, 6, dtype=torch.float64), base), x)
    assert torch.equal(show(x, torch.zeros(2, 6, dtype=torch.float64), base), base.expand(2, 1, 2, 3))
    regions = torch.tensor([[[0, 0, 1], [1, 1, 0]]])
    masks = torch.tensor([[1.0, 0.0], [0.0, 0.25]])
    found = show(x, masks, 0.0, regions)
    assert torch.equal(found[0], torch.where(regions == 0, x[0], 0.0))
    assert torch.allclose(found[1], torch.where(regions == 1, x[1] / 4, 0.0))
    assert show(x.float(), masks, 0.0, regions).dtype == torch.float32


@pytest.mark.parametrize("per_call", [1, 7, 18, 1 << 20])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("fewest", [1, 4])
def test_calls_of_any_size_give_the_same_values_at_the_right_place(per_call, shared, fewest, monkeypatch):
    monkeypatch.setattr(perturbation, "ENTRIES_PER_CALL", per_call)
    monkeypatch.setattr(perturbation, "FEWEST_ROWS", fewest)
    f, x = net(6, 3), points(4)
    z = random_masks((1 if shared else 4, 5, 6), torch_generator(0))
    target = torch.tensor([0, 2, 1, 2])
    sizes = []

    def counted(rows):
        sizes.append(len(rows))
        return f(rows)

    found = evaluate(counted, x, z, lambda rows, m: show(rows, m), target)
    for i in range(4):
        for j in range(5):
            row = x[i] * z[0 if shared else i, j]
            assert float(found[i, j]) == pytest.approx(float(f(row[None])[0, target[i]]), abs=1e-12)
    assert max(sizes) <= max(fewest, per_call // 6) and sum(sizes) == 20
    assert per_call > 18 or min(sizes) >= min(fewest, 5 % max(fewest, per_call // 6) or 5)


def test_one_output_needs_no_target_and_several_do():
    out = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    assert chosen_output(out, torch.tensor([1, 0])).tolist() == [2.0, 4.0]
    assert chosen_output(out[:, :1], None).tolist() == [1.0, 4.0]
    assert chosen_output(out[:, 0], None).dtype == torch.float64
    with pytest.raises(InputError, match="2 outputs; name one"):
        chosen_output(out, None)
    assert predicted_class(lambda x: out, out).tolist() == [1, 0]
    assert predicted_class(lambda x: out[:, 0], out) is None and predicted_class(lambda x: out[:, :1], out) is None


def test_occlusion_of_single_entries_is_the_loss_without_them():
    f, x = net(6, 2), points(3)
    target = torch.tensor([0, 1, 1])
    base = points(1, 6, seed=5)
    found = occlusion(f, x, baseline=base, target=target)
    for i in range(3):
        for j in range(6):
            without = x[i].clone()
            without[j] = base[0, j]
            expected = f(x[i][None])[0, target[i]] - f(without[None])[0, target[i]]
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-12)
    expected = captum.attr.Occlusion(f).attribute(x, (1,), target=target, baselines=base)
    assert torch.allclose(found, expected.double(), atol=1e-6)  # captum keeps single precision


@pytest.mark.parametrize(("window", "stride"), [((1, 1), (1, 1)), ((2, 3), (1, 2)), ((3, 3), (3, 3)), ((4, 2), (3, 2))])
def test_sliding_windows_are_those_of_captum(window, stride):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        f = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(30, 2)).double().requires_grad_(False)
        x = torch.randn(2, 1, 5, 7, dtype=torch.float64)
    hidden = sliding_windows((5, 7), window, stride)[:, None]
    found = occlusion(f, x, hidden=hidden, target=torch.tensor([0, 1]))
    expected = captum.attr.Occlusion(f).attribute(x, (1, *window), (1, *stride), target=torch.tensor([0, 1]))
    assert torch.allclose(found, expected.double(), atol=1e-6)  # captum keeps single precision


def test_windows_of_one_axis_and_impossible_windows():
    assert sliding_windows((4,), (2,), (1,)).tolist() == [
        [True, True, False, False],
        [False, True, True, False],
        [False, False, True, True],
    ]
    for window, stride in [(5, 1), (0, 1), (2, 3), (2, 0)]:
        with pytest.raises(InputError, match="window"):
            sliding_windows((4,), (window,), (stride,))


def test_an_entry_that_nothing_hides_gets_nothing():
    hidden = torch.tensor([[True, True, False]])
    x = torch.ones(1, 3, dtype=torch.float64)
    assert occlusion(linear([1.0, 2.0, 4.0]), x, hidden=hidden).tolist() == [[3.0, 3.0, 0.0]]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.floats(-9, 9), st.integers(0, 1000))
def test_every_method_recovers_a_linear_function(weights, bias, seed):
    f, x = linear(weights, bias), points(2, 4, seed)
    w = torch.tensor(weights, dtype=torch.float64)
    generator = torch_generator(seed)
    for found in (
        lime(f, x, samples=60, generator=generator).coefficients,
        kernel_shap(f, x, samples=12, generator=generator).coefficients,
        occlusion(f, x),
    ):
        assert torch.allclose(found, w * x, atol=1e-9)
    # A baseline b leaves w (x - b).
    assert torch.allclose(
        lime(f, x, samples=60, baseline=0.5, generator=generator).coefficients, w * (x - 0.5), atol=1e-9
    )
    near = c_lime(f, x, scale=0.1, samples=4000, generator=generator)
    assert (near.coefficients - w).abs().max() < 1e-9 + 6 * float(near.error.max())
    assert near.bias.numpy() == pytest.approx(f(x).numpy(), abs=1e-9)


@pytest.mark.parametrize("samples", [20, 80])  # few masks come twice, and many do
@pytest.mark.parametrize("baseline", [0.0, 0.4, torch.linspace(-1, 1, 6, dtype=torch.float64)])
def test_lime_is_the_authors_fit_on_the_same_masks(samples, baseline):
    f, x, target = net(outputs=3), points(2), torch.tensor([2, 0])
    masks = random_masks((2, samples, 6), torch_generator(3, "lime"))
    masks[:, 0] = 1
    fit = lime(f, x, samples=samples, baseline=baseline, target=target, generator=torch_generator(3, "lime"))
    for i in range(2):
        inputs = torch.where(masks[i] > 0, x[i], baseline)
        values = f(inputs)[:, target[i]].numpy()
        distances = np.linalg.norm((x[i] - inputs).numpy(), axis=1)
        base = LimeBase(lambda d: np.exp(-(d**2) / (0.75 * np.sqrt(6)) ** 2))
        intercept, local, score, _ = base.explain_instance_with_data(
            masks[i].numpy(), values[:, None], distances, 0, 6, "none", LinearRegression()
        )
        assert float(fit.bias[i]) == pytest.approx(intercept, abs=1e-9)
        assert fit.coefficients[i].numpy() == pytest.approx([c for _, c in sorted(local)], abs=1e-9)


def test_lime_asks_once_for_each_mask_where_most_come_twice():
    sizes = []

    def counted(rows):
        sizes.append(len(rows.unique(dim=0)))
        assert sizes[-1] == len(rows)
        return net(3)(rows)

    lime(counted, points(1, 3), samples=60, generator=torch_generator(0))
    assert sizes == [2**3]


def test_a_kernel_too_narrow_for_any_mask_is_named():
    with pytest.raises(InputError, match="effective samples"):
        lime(net(), points() * 100, samples=30, width=0.1, generator=torch_generator(0))


def test_c_lime_is_the_mean_gradient_around_the_point():
    # E[grad f(x + xi)] for f = sum sin(x) is cos(x) exp(-s^2 / 2); Stein's identity makes the two the same.
    x = points(2, 3)
    found = c_lime(lambda rows: rows.sin().sum(1), x, scale=0.5, samples=20_000, generator=torch_generator(0))
    expected = x.cos() * np.exp(-(0.5**2) / 2)
    assert ((found.coefficients - expected) / found.error).abs().max() < 4
    assert float(found.error.max()) < 0.03
    assert found.bias.numpy() == pytest.approx((x.sin() * np.exp(-(0.5**2) / 2)).sum(1).numpy(), abs=0.03)
    assert found.effective_samples.tolist() == [20_000, 20_000]
    runs = [c_lime(net(3), x, scale=1.0, samples=60, generator=torch_generator(seed)) for seed in range(80)]
    scatter = torch.stack([run.coefficients for run in runs]).std(0)
    ratio = scatter / torch.stack([run.error for run in runs]).mean(0)
    assert ((ratio > 0.75) & (ratio < 1.3)).all()


def test_the_loss_of_c_lime_is_that_of_its_line():
    f, x = net(3), points(2, 3)
    fit = c_lime(f, x, scale=0.7, samples=5000, generator=torch_generator(0))
    half = torch.randn(2, 2500, 3, generator=torch_generator(0), dtype=torch.float64) * 0.7
    z = torch.cat([half, -half], 1)
    line = fit.bias[:, None] + torch.einsum("nmd,nd->nm", z, fit.coefficients)
    values = torch.stack([f(x[i] + z[i])[:, 0] for i in range(2)])
    assert fit.loss.numpy() == pytest.approx(((values - line) ** 2).mean(1).numpy())
    squared = weighted_least_squares(z, values, torch.ones(2, 5000))
    assert (squared.loss <= fit.loss).all()


def test_a_constant_added_to_the_function_changes_the_bias_alone():
    f, x = net(), points()
    for method in (
        lambda g: lime(g, x, samples=100, generator=torch_generator(0)),
        lambda g: kernel_shap(g, x, samples=30, generator=torch_generator(0)),
        lambda g: c_lime(g, x, scale=0.3, samples=100, generator=torch_generator(0)),
    ):
        plain, more = method(f), method(lambda rows: f(rows) + 7)
        assert torch.allclose(plain.coefficients, more.coefficients, atol=1e-9)
        assert torch.allclose(plain.bias + 7, more.bias, atol=1e-9)


@pytest.mark.parametrize("settings_", [{"samples": 3, "scale": 1.0}, {"samples": 100, "scale": 0.0}])
def test_c_lime_needs_samples_and_a_scale(settings_):
    with pytest.raises(InputError, match="C-LIME"):
        c_lime(net(), points(), generator=torch_generator(0), **settings_)


def test_a_function_that_is_not_finite_and_a_single_feature_are_named():
    with pytest.raises(InputError, match="NaN or infinite at a perturbed input"):
        occlusion(lambda rows: rows.log().sum(1), points())
    with pytest.raises(InputError, match="features: there is 1"):
        kernel_shap(net(1), points(2, 1), generator=torch_generator(0))
