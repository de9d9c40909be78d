"""Groups are what they are called, every layer keeps its share of them, and what goes can be removed."""

import copy

import pytest
import torch
from torch import nn

from winnow.compress._masking import apply_masks, prunable_weights
from winnow.compress._slimming import slim
from winnow.compress._structure import group_masks, parameter_masks, structure_of, with_units
from winnow.compress.global_magnitude import masks_from_scores
from winnow.errors import InputError
from winnow.models import build
from winnow.models.graphs import UnsupportedModule, graph_of, layers_in_order, units_read

IMAGE = {"in_channels": 2, "height": 9, "width": 8, "classes": 3}
NETS = ["mlp", "small_cnn", "residual", "depthwise_cnn"]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(name):
    model = build(name, **IMAGE).double()
    for i, tensor in enumerate([*model.parameters(), *model.buffers()]):
        if tensor.is_floating_point() and tensor.ndim:
            tensor.data = noise(*tensor.shape, seed=i) / max(1, tensor[0].numel()) ** 0.5
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.data = norm.running_var.abs() + 0.5
    return model.eval()


def random_scores(model):
    return {name: noise(*w.shape, seed=i) for i, (name, w) in enumerate(prunable_weights(model).items())}


GROUPS = {
    ("mlp", "filter"): {"linear1": 300, "linear2": 100},
    ("mlp", "channel"): {"linear2": 300, "output": 100},
    ("small_cnn", "filter"): {"conv1": 16, "conv2": 32, "linear1": 64},
    ("small_cnn", "channel"): {"conv2": 16, "linear1": 32, "output": 64},
    ("depthwise_cnn", "filter"): {f"blocks.{i}.pointwise": 16 * 2**i for i in range(3)} | {"conv": 8},
    ("depthwise_cnn", "channel"): {f"blocks.{i}.pointwise": 8 * 2**i for i in range(3)} | {"output": 64},
}


@pytest.mark.parametrize(("name", "group"), GROUPS)
def test_filters_are_outputs_of_all_layers_but_the_last_and_channels_inputs_of_all_but_the_first(name, group):
    model = build(name, **IMAGE, **({"channels": [8, 16, 32, 64]} if name == "depthwise_cnn" else {}))
    found = structure_of(model, group)
    assert found.sizes == {f"{layer}.weight": n for layer, n in GROUPS[name, group].items()}


def test_a_flattened_map_is_one_channel():
    graph = graph_of(build("small_cnn", **IMAGE))
    assert layers_in_order(graph) == ["conv1", "conv2", "linear1", "output"]
    assert units_read(graph) == {"conv1": 2, "conv2": 16, "linear1": 32, "output": 64}
    assert units_read(graph_of(build("mlp", **IMAGE)))["linear1"] == 144
    odd = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 3))
    assert units_read(graph_of(odd)) == {"0": 4, "3": 1}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("group", ["filter", "channel"])
@pytest.mark.parametrize("pool", ["norm", "sum"])
@pytest.mark.parametrize("keep", [0.01, 0.3, 0.5, 1.0])
def test_each_layer_keeps_its_best_groups(name, group, pool, keep):
    model = trained(name)
    scores, structure = random_scores(model), structure_of(model, group)
    masks = group_masks(scores, keep, structure, pool=pool)
    assert masks.keys() == scores.keys()
    for layer, mask in masks.items():
        assert mask.shape == scores[layer].shape
        if layer not in structure.sizes:
            assert mask.all()
            continue
        size, axis = structure.sizes[layer], 0 if group == "filter" else 1
        block = mask.shape[axis] // size
        worth, kept = [], []
        for g in range(size):
            score = scores[layer].narrow(axis, g * block, block)
            part = mask.narrow(axis, g * block, block)
            assert part.all() or not part.any()
            worth.append(float((score**2).sum() if pool == "norm" else score.sum()))
            kept.append(bool(part.all()))
        count = max(1, round(keep * size))
        assert [g for g in range(size) if kept[g]] == sorted(sorted(range(size), key=lambda g: -worth[g])[:count])


def test_single_weights_compete_over_all_layers():
    model = trained("mlp")
    scores, structure = random_scores(model), structure_of(model, "weight")
    earlier = group_masks(scores, 0.5, structure)
    for more in ({}, {"min_keep": 9}, {"within": earlier}):
        found = group_masks(scores, 0.1, structure, **more)
        expected = masks_from_scores(scores, 0.1, more.get("min_keep", 0), more.get("within"))
        assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    assert structure.sizes == {name: w.numel() for name, w in prunable_weights(model).items()}


@pytest.mark.parametrize("group", ["filter", "channel"])
def test_groups_that_are_gone_stay_gone(group):
    model = trained("small_cnn")
    structure = structure_of(model, group)
    earlier = group_masks(random_scores(model), 0.5, structure)
    reversed_scores = {name: 1 / (1 + s**2) for name, s in random_scores(model).items()}
    later = group_masks(reversed_scores, 0.25, structure, within=earlier)
    assert all((later[name] <= earlier[name]).all() and later[name].any() for name in later)
    free = group_masks(reversed_scores, 0.25, structure)
    assert any((free[name] & ~earlier[name]).any() for name in free)


def test_among_equal_groups_the_first_stay_and_none_may_be_undefined():
    model = build("mlp", **IMAGE)
    structure = structure_of(model, "filter")
    zeros = {name: torch.zeros_like(w) for name, w in prunable_weights(model).items()}
    rows = group_masks(zeros, 0.25, structure)["linear2.weight"].all(1)
    assert rows.nonzero().flatten().tolist() == list(range(25))
    zeros["linear2.weight"][0, 0] = torch.nan
    with pytest.raises(InputError, match="linear2.weight: .* NaN"):
        group_masks(zeros, 0.25, structure)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("group", ["filter", "channel"])
def test_what_is_pruned_can_be_removed(name, group):
    model, x = trained(name), noise(3, 2, 9, 8)
    structure = structure_of(model, group)
    masks = with_units(model, group_masks(random_scores(model), 0.5, structure), structure)
    pruned = apply_masks(copy.deepcopy(model), masks)
    small = slim(pruned, None, x)
    assert torch.allclose(small(x), pruned(x), atol=1e-9)
    assert sum(p.numel() for p in small.parameters()) < 0.62 * sum(p.numel() for p in model.parameters())


def test_a_dropped_filter_takes_its_bias_and_norm_along_and_a_dropped_channel_nothing():
    model = build("residual", **IMAGE)
    structure = structure_of(model, "filter")
    masks = group_masks(random_scores(model), 0.5, structure)
    every = with_units(model, masks, structure)
    names = {"conv": "norm", "block1.conv1": "block1.norm1", "block1.shortcut.1": "block1.shortcut.2"}
    for layer, norm in names.items():
        for key in (f"{norm}.weight", f"{norm}.bias"):
            assert torch.equal(every[key], masks[f"{layer}.weight"].flatten(1).any(1))
    assert every.keys() - masks.keys() == {n for n, _ in model.named_parameters() if "norm" in n or "shortcut.2" in n}
    channels = structure_of(model, "channel")
    masks = group_masks(random_scores(model), 0.5, channels)
    assert with_units(model, masks, channels) is masks


def test_masks_cover_all_that_makes_a_unit():
    model, kept = build("depthwise_cnn", **IMAGE, channels=[3, 4]), {"conv": torch.tensor([True, False, True])}
    found = parameter_masks(model, kept, {"conv": "norm"})
    shapes = {"conv.weight": (3, 2, 3, 3), "norm.weight": (3,), "norm.bias": (3,)}
    assert {n: tuple(m.shape) for n, m in found.items()} == shapes
    assert all(m[0].all() and not m[1].any() for m in found.values())
    model.norm = nn.BatchNorm2d(3, affine=False)
    with pytest.raises(UnsupportedModule, match="norm: has no scale"):
        parameter_masks(model, kept, {"conv": "norm"})


@pytest.mark.parametrize(
    ("model", "group", "said"),
    [
        (nn.Linear(3, 2), "row", "group: is 'row'; use one of weight, filter, channel"),
        (nn.Sequential(nn.Linear(3, 2)), "filter", "no hidden filter"),
        (nn.Sequential(nn.Linear(3, 2)), "channel", "no hidden channel"),
        (build("fastgrnn", **IMAGE), "filter", "FastGRNN: cannot be written as a graph"),
        (nn.ReLU(), "weight", "no weight that can be pruned"),
    ],
)
def test_bad_input_is_told_in_one_line(model, group, said):
    with pytest.raises(InputError, match=said):
        structure_of(model, group)
