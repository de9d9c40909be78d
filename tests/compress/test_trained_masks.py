"""Masks are those of the highest scores, which get the gradient of a factor; weights behind them keep their values."""

import copy

import pytest
import torch
from torch.nn import functional

from winnow.compress._masking import prunable_weights
from winnow.compress._trained_masks import MOMENTUM, WEIGHT_DECAY, MaskedModel, WithValues, initial_scores
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_scores_start_in_proportion_to_magnitudes_within_each_layer():
    conv = torch.tensor([[[[1.0, -4.0]], [[2.0, 0.0]]]])  # fan-in 4
    assert initial_scores(conv).flatten().tolist() == pytest.approx([v * 1.5**0.5 for v in (0.25, 1, 0.5, 0)])
    assert initial_scores(torch.zeros(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def masked_mlp(keep=0.3, group="weight", hidden=(6, 5)):
    model = build("mlp", **IMAGE, hidden=list(hidden), seed=2).double()
    return model, MaskedModel(model, keep, group)


def test_the_weights_of_largest_start_score_over_all_layers_stay():
    model, masked = masked_mlp()
    weights = prunable_weights(model)
    assert masked.names == list(weights) == ["linear1.weight", "linear2.weight", "output.weight"]
    scores = {n: w.abs() / w.abs().max() * (6 / w.shape[1]) ** 0.5 for n, w in weights.items()}
    every = torch.cat([score.flatten() for score in scores.values()])
    least = every.topk(round(0.3 * len(every))).values.min()
    for name, mask in masked.masks().items():
        assert torch.equal(mask, scores[name] >= least)
    for score, expected in zip(masked.scores, scores.values(), strict=True):
        assert torch.allclose(score, expected) and score.requires_grad


def test_choosing_again_follows_the_scores_and_weights_behind_a_mask_return():
    model, masked = masked_mlp(0.5, hidden=(6, 4))  # an even number of weights
    before = {name: weight.detach().clone() for name, weight in prunable_weights(model).items()}
    first = masked.masks()
    with torch.no_grad():
        for score in masked.scores:
            score.mul_(-1)
    second = masked.choose()
    assert all(torch.equal(second[n], ~first[n]) for n in first) and masked.masks().keys() == second.keys()
    values = masked.masked()
    for name, weight in before.items():
        assert torch.equal(model.get_parameter(name), weight)
        assert torch.equal(values[name], torch.where(second[name], weight, 0.0))
    assert set(masked.state) == {f"mask.{name}" for name in before}


def test_the_model_computes_with_what_is_kept_and_scores_get_the_gradient_of_a_factor():
    model, masked = masked_mlp()
    x, y = noise(7, 1, 9, 8), torch.arange(7) % 3
    apart = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masked.masks().items():
            apart.get_parameter(name).mul_(mask)
    torch.testing.assert_close(masked(x), apart(x))
    functional.cross_entropy(masked(x), y).backward()
    functional.cross_entropy(apart(x), y).backward()
    for name, score in zip(masked.names, masked.scores, strict=True):
        # dl/ds = theta * dl/dz, also where the mask is 0.
        torch.testing.assert_close(score.grad, model.get_parameter(name).detach() * apart.get_parameter(name).grad)
        assert score.grad[~masked.masks()[name]].any()
        into = model.get_parameter(name).grad
        torch.testing.assert_close(into, apart.get_parameter(name).grad * masked.masks()[name])


def test_scores_that_need_no_gradient_leave_the_values_to_the_mask_alone():
    model, masked = masked_mlp()
    masked.scores.requires_grad_(False)
    values = masked.masked()
    functional.mse_loss(masked(noise(3, 1, 9, 8)), torch.zeros(3, 3).double()).backward()
    assert all(score.grad is None for score in masked.scores)
    for name, mask in masked.masks().items():
        assert not values[name][~mask].any() and not model.get_parameter(name).grad[~mask].any()


@pytest.mark.parametrize("group", ["filter", "channel"])
def test_of_groups_each_layer_keeps_the_share_of_largest_norm(group):
    model, masked = masked_mlp(0.5, group, hidden=(8, 4))
    kept = {name: mask.any(1 if group == "filter" else 0) for name, mask in masked.masks().items()}
    layers = {"filter": ["linear1.weight", "linear2.weight"], "channel": ["linear2.weight", "output.weight"]}[group]
    for name, score in zip(masked.names, masked.scores, strict=True):
        if name not in layers:
            assert masked.masks()[name].all()
            continue
        norms = score.detach().norm(dim=1 if group == "filter" else 0)
        assert torch.equal(kept[name], norms >= norms.topk(len(norms) // 2).values.min())
    assert set(masked.masks()) == set(masked.names)
    biases = {"mask.linear1.bias", "mask.linear2.bias"}
    assert set(masked.state) - {f"mask.{name}" for name in masked.names} == (biases if group == "filter" else set())


def test_a_unit_that_is_dropped_has_no_bias_left_in_use_nor_when_finished():
    model, masked = masked_mlp(0.5, "filter", hidden=(8, 4))
    with torch.no_grad():
        for name in ("linear1", "linear2"):
            model.get_submodule(name).bias.fill_(1.0)
    before = copy.deepcopy(model.state_dict())
    kept = masked.masks()["linear1.weight"].any(1)
    assert torch.equal(masked.masked()["linear1.bias"], kept.double())
    finished = masked.train().finished()
    assert torch.equal(finished.linear1.bias, kept.double()) and not finished.linear1.weight[~kept].any()
    assert not finished.training and masked.model is model and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x = noise(4, 1, 9, 8)
    torch.testing.assert_close(finished(x), masked.eval()(x))


def test_given_values_take_the_place_of_the_masked_ones():
    model, masked = masked_mlp()
    x = noise(4, 1, 9, 8)
    twice = {name: 2 * value.detach() for name, value in masked.masked().items()}
    apart = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in twice.items():
            apart.get_parameter(name).copy_(value)
    torch.testing.assert_close(masked(x, twice), apart(x))
    torch.testing.assert_close(WithValues(masked, twice)(x), apart(x))
    assert not torch.allclose(masked(x), apart(x))


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, 1 / 478])
def test_a_share_that_keeps_nothing_or_more_than_all_is_refused(keep):
    model = build("mlp", **IMAGE, hidden=[6, 5])  # 477 weights
    with pytest.raises(InputError, match=rf"keep: is {keep} of 477; give more than 0.0021 and at most 1"):
        MaskedModel(model, keep, "weight")


@pytest.mark.parametrize(("keep", "count"), [(1, 477), (1 / 477, 1)])
def test_all_weights_or_one_may_stay(keep, count):
    masked = MaskedModel(build("mlp", **IMAGE, hidden=[6, 5]), keep, "weight")
    assert sum(int(mask.sum()) for mask in masked.masks().values()) == count


def test_groups_are_what_a_share_is_of():
    with pytest.raises(InputError, match=r"keep: is 0.05 of 11; give more than 0.0909"):
        MaskedModel(build("mlp", **IMAGE, hidden=[6, 5]), 0.05, "filter")


def test_momentum_and_decay_are_those_of_the_authors():
    assert (MOMENTUM, WEIGHT_DECAY) == (0.9, 1e-4)
