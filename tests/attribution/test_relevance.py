"""Relevance is shared as the rules say: by hand, by loops over the definition, and as captum does it."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from winnow.attribution.relevance import relevance
from winnow.errors import InputError
from winnow.models import build
from winnow.models.graphs import fold_batch_norm

NETS = ["mlp", "small_cnn", "residual", "depthwise_cnn"]
IMAGE = {"in_channels": 2, "height": 9, "width": 8, "classes": 3}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def trained(name, seed=0, biased=True):
    """Nothing is at its starting value: no bias is 0, unless all shall be, no batch norm the identity."""
    model = build(name, **IMAGE).double()
    source = generator(seed)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point() and tensor.ndim:
            tensor.data = torch.randn(tensor.shape, generator=source, dtype=torch.float64)
            tensor.data /= max(1, tensor[0].numel()) ** 0.5
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.data = norm.running_var.abs() + 0.5
        norm.running_mean.data *= biased
    for bias in (p for n, p in model.named_parameters() if n.endswith("bias")):
        bias.data *= biased
    return model.eval()


def linear(weight, bias=None):
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None).double()
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def test_two_layers_as_worked_out_by_hand():
    # z+ of the output: 1 * 2 + 3 * 1 = 5 for class 0; hidden units get 2/5 and 3/5.
    # Unit 0 reads 1 * 1 (the -1 does not count), unit 1 reads 1 * 1 + 2 * 1 = 3.
    model = nn.Sequential(linear([[2, -0.5], [1, 1]]), nn.ReLU(), linear([[2, 1], [-1, 3]]))
    found = relevance(model, torch.tensor([[1.0, 2.0]]).double(), torch.tensor([0]), weights=True)
    assert found.outputs["0"].tolist() == [pytest.approx([2 / 5, 3 / 5], abs=1e-8)]
    assert found.input.tolist() == [pytest.approx([2 / 5 + 3 / 5 / 3, 3 / 5 * 2 / 3], abs=1e-8)]
    assert found.weights["2"].tolist() == [pytest.approx([2 / 5, 3 / 5], abs=1e-8), [0, 0]]
    expected = [pytest.approx([2 / 5, 0], abs=1e-8), pytest.approx([1 / 5, 2 / 5], abs=1e-8)]
    assert found.weights["0"].tolist() == expected


def contributions(a, w, rule, limits):
    """What input i puts into output j, one pair at a time."""
    if limits is not None:
        return a * w - limits[0] * max(w, 0) - limits[1] * min(w, 0)
    return max(a * w, 0) if rule == "zplus" else a * w


def by_definition(layers, x, start, rule, bounds, epsilon):
    """Relevance of the inputs of linear layers with ReLU between them, by loops."""
    values = [x]
    for i, (weight, bias) in enumerate(layers):
        z = weight @ values[-1] + bias
        values.append(np.maximum(z, 0) if i < len(layers) - 1 else z)
    arrived = start
    for i, (weight, bias) in reversed(list(enumerate(layers))):
        below, limits = np.zeros(weight.shape[1]), bounds if i == 0 else None
        for j in range(len(weight)):
            parts = [contributions(a, w, rule, limits) for a, w in zip(values[i], weight[j], strict=True)]
            z = sum(parts) + (bias[j] if rule == "epsilon" and limits is None else 0)
            z += epsilon if z >= 0 else -epsilon
            below += np.array(parts) / z * arrived[j]
        arrived = below
    return arrived


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.sampled_from(["zplus", "epsilon"]),
    st.booleans(),
    st.sampled_from([1e-9, 0.1]),
)
@settings(max_examples=80, deadline=None)
def test_dense_layers_follow_the_definition(seed, widths, rule, boxed, epsilon):
    x = noise(3, widths[0], seed=seed)
    modules = [linear(noise(b, a, seed=seed + a).tolist(), noise(b, seed=seed + b).tolist()) for a, b in
               zip(widths, widths[1:], strict=False)]  # fmt: skip
    parts = [part for module in modules for part in (module, nn.ReLU())][:-1]
    bounds = (float(x.min()) - 0.5, float(x.max()) + 1.0) if boxed else None
    target = torch.arange(3) % widths[-1]
    found = relevance(nn.Sequential(*parts), x, target, rule=rule, bounds=bounds, epsilon=epsilon).input
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in modules]
    for row in range(3):
        start = np.eye(widths[-1])[target[row]]
        expected = by_definition(layers, x[row].numpy(), start, rule, bounds, epsilon)
        # The definition loses digits where a sum is near the stabiliser, in another order of summation.
        assert np.allclose(found[row].numpy(), expected, rtol=1e-6, atol=1e-7 * max(1, np.abs(expected).max()))


def as_matrix(layer, shape):
    """The linear layer that a convolution is, from what it makes of each unit input."""
    size = int(np.prod(shape))
    bias = layer(torch.zeros(1, *shape).double()).detach().flatten()
    weight = (layer(torch.eye(size).double().view(size, *shape)).detach().flatten(1) - bias).T
    return linear(weight.tolist(), bias.tolist())


@pytest.mark.parametrize(
    "settings_of_layer",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}, {"groups": 2, "padding": 1}, {"bias": False}],
)
@pytest.mark.parametrize("rule", ["zplus", "epsilon"])
@pytest.mark.parametrize("bounds", [None, (-4.0, 5.0)])
def test_a_convolution_is_the_linear_layer_of_its_matrix(settings_of_layer, rule, bounds):
    torch.manual_seed(0)
    for layer, shape in (
        (nn.Conv2d(2, 4, 3, **settings_of_layer), (2, 5, 6)),
        (nn.Conv1d(2, 4, 3, **settings_of_layer), (2, 7)),
    ):
        layer, x = layer.double(), noise(2, *shape)
        units = layer(x).flatten(1).shape[1]
        top, target = linear(noise(3, units, seed=2).tolist()), torch.tensor([2, 0])
        found = relevance(
            nn.Sequential(layer, nn.ReLU(), nn.Flatten(), top), x, target, rule=rule, bounds=bounds, weights=True
        )
        dense = nn.Sequential(as_matrix(layer, shape), nn.ReLU(), top)
        expected = relevance(dense, x.flatten(1), target, rule=rule, bounds=bounds, weights=True)
        assert torch.allclose(found.input.flatten(1), expected.input, rtol=1e-7, atol=1e-9)
        assert torch.allclose(found.outputs["0"].flatten(1), expected.outputs["0"], rtol=1e-7, atol=1e-9)
        # Each weight of the kernel stands at several places of the matrix.
        by_unit = expected.weights["0"].sum(1).view(layer.out_channels, -1).sum(1)
        assert torch.allclose(found.weights["0"].flatten(1).sum(1), by_unit, rtol=1e-7, atol=1e-9)


class Plain(nn.Module):
    """Without biases, and with a flattening that captum does not see: it has no rule for it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.relu1, self.pool = nn.Conv2d(2, 5, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2 = nn.Conv2d(5, 6, 2, bias=False), nn.ReLU()
        self.top = nn.Linear(24, 3, bias=False)

    def forward(self, x):
        return self.top(self.relu2(self.conv2(self.pool(self.relu1(self.conv1(x))))).flatten(1))


@pytest.mark.parametrize(("rule", "peer"), [("zplus", Alpha1_Beta0_Rule), ("epsilon", EpsilonRule)])
def test_inputs_get_what_captum_gives_them(rule, peer):
    torch.manual_seed(3)
    model = Plain().double()
    x, target = noise(4, 2, 8, 8).abs(), torch.tensor([0, 1, 2, 1])
    found = relevance(model, x, target, rule=rule).input
    theirs = copy.deepcopy(model)
    for layer in theirs.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.rule = peer()
    logit = model(x).detach()[torch.arange(4), target].view(4, 1, 1, 1)  # captum starts at the logit, not at 1
    assert torch.allclose(found * logit, LRP(theirs).attribute(x, target), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("bounds", [None, (-9.0, 8.0)])
def test_z_plus_passes_on_all_that_reaches_a_layer(name, bounds):
    x, target = noise(5, 2, 9, 8), torch.tensor([0, 1, 2, 1, 0])
    found = relevance(trained(name, biased=False), x, target, bounds=bounds, epsilon=1e-12, weights=True)
    assert found.input.sum() == pytest.approx(5, rel=1e-4) and (found.input >= -1e-9).all()
    assert all((units >= 0).all() for units in found.outputs.values())
    assert all((weights >= -1e-9).all() for weights in found.weights.values())
    for layer, weights in found.weights.items():
        arrived = found.outputs[layer].transpose(0, 1).flatten(1).sum(1)
        assert torch.allclose(weights.flatten(1).sum(1), arrived, rtol=1e-4, atol=1e-9)
    through = [n for n in found.outputs if n.split(".")[0] in ("linear1", "relu1", "conv", "pool", "output")]
    assert through and all(found.outputs[n].sum() == pytest.approx(5, rel=1e-4) for n in through)


@pytest.mark.parametrize("name", NETS)
def test_batch_norm_is_part_of_the_layer_before_it(name):
    model, x = trained(name), noise(4, 2, 9, 8)
    folded = fold_batch_norm(model)
    assert torch.allclose(folded(x), model(x), rtol=1e-10, atol=1e-12)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert fold_batch_norm(folded) is folded
    target = torch.tensor([2, 1, 0, 0])
    ours, theirs = relevance(model, x, target, weights=True), relevance(folded, x, target, weights=True)
    assert torch.equal(ours.input, theirs.input) and ours.outputs.keys() == theirs.outputs.keys()
    assert all(torch.equal(ours.weights[n], w) for n, w in theirs.weights.items())


def test_a_norm_that_follows_no_layer_has_no_rule():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2)).double()
    with pytest.raises(TypeError, match="2 .BatchNorm1d."):
        relevance(model, noise(2, 2), torch.tensor([0, 1]))


class Pools(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool, self.top = pool, linear([[1, 1]])

    def forward(self, x):
        return self.top(self.pool(x).flatten(1))


def test_a_maximum_gives_all_to_the_winner_and_an_average_shares():
    x, target = torch.tensor([[[[1.0, 3.0, 2.0, 2.0]]]]).double(), torch.tensor([0])
    most = relevance(Pools(nn.MaxPool2d((1, 2))), x, target).input
    assert most.flatten().tolist() == pytest.approx([0, 3 / 5, 2 / 5, 0], abs=1e-8)
    mean = relevance(Pools(nn.AvgPool2d((1, 2))), x, target).input
    assert mean.flatten().tolist() == pytest.approx([1 / 8, 3 / 8, 2 / 8, 2 / 8], abs=1e-8)


class Sums(nn.Module):
    """A sum in place of a branch and a shortcut that is read twice."""

    def __init__(self, in_place):
        super().__init__()
        self.branch, self.top, self.in_place = linear([[1, 0], [0, -1]]), linear([[1, 1]]), in_place
        self.relu = nn.ReLU(inplace=in_place)

    def forward(self, x):
        out = self.branch(x)
        if self.in_place:
            out += x
        else:
            out = torch.add(out, x)
        return self.top(self.relu(out))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_sum_shares_by_contribution(in_place):
    x, target = torch.tensor([[1.0, 4.0]]).double(), torch.tensor([0])
    # Branch: 1 and -4; sum: 2 and 0. All relevance goes to unit 0: half to the branch, half to the shortcut.
    found = relevance(Sums(in_place), x, target)
    assert found.outputs["relu"].tolist() == [pytest.approx([1, 0], abs=1e-8)]
    assert found.outputs["branch"].tolist() == [pytest.approx([0.5, 0], abs=1e-8)]
    assert found.input.tolist() == [pytest.approx([1, 0], abs=1e-8)]
    x = torch.tensor([[1.0, -4.0]]).double()  # branch: 1 and 4; sum: 2 and 0
    signed = relevance(Sums(in_place), x, target, rule="epsilon", epsilon=0.5)
    # Top: 2 / 2.5 of 1 goes on; the sum: 1 / 2.5 each; the branch: 1 / 1.5.
    assert signed.outputs["branch"].tolist() == [pytest.approx([0.8 / 2.5, 0], abs=1e-12)]
    assert signed.input.tolist() == [pytest.approx([0.8 / 2.5 * (1 + 1 / 1.5), 0], abs=1e-12)]


class Shared(nn.Module):
    """One ReLU at two places, and a layer of which nothing comes of."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.top = (linear(noise(3, 3, seed=s).tolist()) for s in range(3))
        self.relu, self.unused = nn.ReLU(), linear([[1, 1, 1]])

    def forward(self, x):
        h = self.relu(self.first(x))
        self.unused(h)
        return self.top(self.relu(self.second(h)))


def test_only_what_leads_to_the_output_gets_relevance_and_a_name():
    found = relevance(Shared(), noise(4, 3, seed=8), torch.tensor([0, 1, 2, 0]), weights=True)
    assert set(found.outputs) == {"first", "second", "top"}
    assert list(found.weights) == ["first", "second", "top"]


def test_bounds_move_with_the_input_but_not_beyond_the_first_layer():
    model, x = trained("mlp"), noise(2, 2, 9, 8)
    low, high = noise(2, 2, 9, 8, seed=5).abs() * -1 + x, x + 1
    found = relevance(model, x, torch.tensor([0, 1]), bounds=(low, high))
    flat = nn.Sequential(*list(model)[1:])
    expected = relevance(flat, x.flatten(1), torch.tensor([0, 1]), bounds=(low.flatten(1), high.flatten(1)))
    assert torch.equal(found.input.flatten(1), expected.input)
    exact = relevance(model, x, torch.tensor([0, 1]), bounds=(float(x.min()), float(x.max())))
    assert torch.isfinite(exact.input).all()
    plain = relevance(model, x, torch.tensor([0, 1]))
    assert torch.equal(found.outputs["relu1"], plain.outputs["relu1"])
    assert not torch.allclose(found.input, plain.input)


@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_units_that_change_places_take_their_relevance_along(name):
    model, x, target = trained(name), noise(3, 2, 9, 8), torch.tensor([1, 0, 2])
    layers = [n for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    before = relevance(model, x, target)
    first, second = (model.get_submodule(n) for n in layers[:2])
    order = torch.randperm(len(first.weight), generator=generator(1))
    first.weight.data, first.bias.data = first.weight[order], first.bias[order]
    second.weight.data = second.weight[:, order]
    after = relevance(model, x, target)
    assert torch.allclose(after.outputs[layers[0]], before.outputs[layers[0]][:, order], atol=1e-10)
    assert torch.allclose(after.input, before.input, atol=1e-10)


def test_weights_are_left_out_unless_asked_for():
    model, x, target = trained("residual"), noise(3, 2, 9, 8), torch.tensor([1, 0, 2])
    plain, whole = relevance(model, x, target), relevance(model, x, target, weights=True)
    assert plain.weights == {} and len(whole.weights) == 10
    assert torch.allclose(plain.input, whole.input, rtol=1e-12) and plain.outputs.keys() == whole.outputs.keys()


def test_relevance_starts_at_the_class_with_one_or_its_probability():
    model, x, target = trained("mlp"), noise(3, 2, 9, 8), torch.tensor([2, 2, 0])
    one, share = relevance(model, x, target), relevance(model, x, target, start="probability")
    assert one.outputs["output"].tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0]]
    chance = model(x).softmax(1)[torch.arange(3), target]
    assert torch.allclose(share.outputs["output"].sum(1), chance) and not torch.allclose(chance, torch.ones(1).double())
    assert torch.allclose(share.input, one.input * chance.view(3, 1, 1, 1), rtol=1e-9)


def test_rows_do_not_meet_and_the_model_is_left_alone():
    model, x, target = trained("residual").train(), noise(3, 2, 9, 8), torch.tensor([2, 1, 0])
    state = copy.deepcopy(model.state_dict())
    together = relevance(model, x, target)
    assert torch.allclose(together.input[1:2], relevance(model, x[1:2], target[1:2]).input, rtol=1e-9, atol=1e-12)
    assert model.training and all(torch.equal(state[n], t) for n, t in model.state_dict().items())
    assert not x.requires_grad and not together.input.requires_grad and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("module", "named"),
    [(nn.Sigmoid(), "1 .Sigmoid"), (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "padding_mode circular")],
)
def test_an_operation_without_a_rule_is_named(module, named):
    model = nn.Sequential(nn.Conv2d(2, 2, 1), module, nn.Flatten(), nn.Linear(144, 3)).double()
    for kind in (TypeError, InputError):
        with pytest.raises(kind, match=named):
            relevance(model, noise(1, 2, 9, 8), torch.tensor([0]))


def test_a_loop_and_a_layer_that_runs_twice_are_refused():
    with pytest.raises(TypeError, match="FastGRNN: cannot be written as a graph"):
        relevance(build("fastgrnn", **IMAGE), noise(1, 2, 9, 8).float(), torch.tensor([0]))
    shared = linear([[1, 2], [3, 4]])
    with pytest.raises(TypeError, match="0: runs more than once"):
        relevance(nn.Sequential(shared, nn.ReLU(), shared), noise(1, 2), torch.tensor([0]))


@pytest.mark.parametrize(
    ("x", "target", "more", "said"),
    [
        (noise(2, 2), [0, 2], {}, "labels: go from 0 to 2; the model has 2 classes"),
        (noise(2, 2), [-1, 1], {}, "labels: go from -1 to 1"),
        (noise(2, 2), [1], {}, "reference set: 2 rows and 1 labels"),
        (noise(0, 2), [], {}, "reference set: 0 rows"),
        (noise(1, 2), [0], {"rule": "gamma"}, "rule: is 'gamma'; use one of zplus, epsilon"),
        (noise(1, 2), [0], {"start": "logit"}, "start: is 'logit'"),
        (
            torch.tensor([[-1.5, 2.5]]).double(),
            [0],
            {"bounds": (-1.0, 3.0)},
            "inputs go from -1.5 to 2.5; give",
        ),
        (
            torch.tensor([[-1.5, 2.5]]).double(),
            [0],
            {"bounds": (-2.0, 2.0)},
            "inputs go from -1.5 to 2.5; give",
        ),
        (noise(3, 2), [0, 1, 2], {}, "labels: go from 0 to 2; the model has 2 classes"),
        (noise(1, 3, 2), [0], {}, "output has shape"),
    ],
)
def test_bad_input_is_told_in_one_line(x, target, more, said):
    with pytest.raises(ValueError, match=said):
        relevance(nn.Sequential(linear([[1, 2], [3, 4]])), x, torch.tensor(target, dtype=torch.long), **more)
