"""Slimmed models compute what masked ones do, and are as small as a search by hand says."""

import copy

import networkx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from winnow.compress._masking import apply_masks, prunable_weights
from winnow.compress._measure import flops
from winnow.compress._slimming import slim
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 2, "height": 9, "width": 8, "classes": 3}
SMALL = {
    "mlp": {"hidden": [9, 7]},
    "small_cnn": {"channels": 3, "hidden": 6},
    "residual": {"channels": 2},
    "depthwise_cnn": {"channels": [3, 4, 5]},
    "fastgrnn": {"hidden": 6, "input_rank": 4, "state_rank": 5},
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def images(n=4, dtype=torch.float32, scale=1.0):
    return scale * torch.randn(n, 2, 9, 8, generator=generator(n), dtype=dtype)


def trained(name, seed=0):
    """A small model with nothing at its starting value: no bias is 0, no batch norm the identity."""
    model, noise = build(name, **IMAGE, **SMALL[name]), generator(seed)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point() and tensor.ndim:
            tensor.data = torch.randn(tensor.shape, generator=noise) / max(1, tensor[0].numel()) ** 0.5
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.data = norm.running_var.abs() + 0.5
    return model.eval()


def structured_masks(model, seed, dying):
    """Masks that drop rows, columns and single entries, each with the chance `dying`."""
    noise, masks = generator(seed), {}
    for name, weight in prunable_weights(model).items():
        rows, columns = weight.shape[:2]
        shapes = ((rows, 1), (1, columns), (rows, columns))
        kept = [torch.rand(shape, generator=noise) >= dying for shape in shapes]
        kept = (kept[0] & kept[1] & kept[2]).reshape(rows, columns, *[1] * (weight.ndim - 2))
        masks[name] = kept.expand(weight.shape).contiguous()
    return masks


def masked(model, masks):
    return apply_masks(copy.deepcopy(model), masks)


def sizes(model):
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def widths(model):
    return {n: len(m.weight) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))}


cases = given(st.sampled_from(sorted(SMALL)), st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))


@cases
@settings(max_examples=60, deadline=None)
def test_outputs_are_those_of_the_masked_model_on_inputs_it_has_not_seen(name, seed, dying):
    model = trained(name, seed)
    masks, found_sizes = structured_masks(model, seed, dying), []
    # Rounding of sums in another order: 1e-16 and 6e-8 for each of some hundred terms.
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        small = slim(model.to(dtype), masks, images(2, dtype))
        x = images(5, dtype, scale=3.0)
        expected, found = masked(model, masks)(x), small(x)
        assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))
        assert next(small.parameters()).dtype == dtype
        found_sizes.append(sizes(small))
    assert found_sizes[0] == found_sizes[1]


@cases
@example("small_cnn", 616, 0.5)  # the one unit that a dead layer keeps reads a constant through its padding
@settings(max_examples=40, deadline=None)
def test_a_slim_model_does_not_get_smaller(name, seed, dying):
    model = trained(name, seed)
    once = slim(model, structured_masks(model, seed, dying), images(2))
    assert sizes(slim(once, None, images(2))) == sizes(once)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", sorted(SMALL))
def test_nothing_goes_where_nothing_is_dead(name):
    model = trained(name)
    slimmed = slim(model, {}, images())
    assert slimmed.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in slimmed.state_dict().items())
    assert slimmed.registry_name == name and slimmed.arguments == model.arguments


@given(st.integers(0, 10**6), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_a_perceptron_keeps_the_units_on_a_path_from_input_to_output(seed, hidden, density):
    model, noise = build("mlp", seed=seed, **{**IMAGE, "hidden": hidden}), generator(seed)
    masks = {n: torch.rand(w.shape, generator=noise) < density for n, w in prunable_weights(model).items()}
    masks["linear1.weight"] &= torch.rand(hidden[0], 1, generator=noise) < density  # few of 144 inputs suffice
    graph = networkx.DiGraph()
    for layer, mask in enumerate(masks.values()):
        graph.add_edges_from(((layer, i), (layer + 1, j)) for j, i in mask.nonzero().tolist())
        graph.add_edges_from(("in", (0, i)) for i in range(mask.shape[1]) if layer == 0)
    graph.add_edges_from(((len(masks), i), "out") for i in range(IMAGE["classes"]))
    graph.add_node("in")
    alive = networkx.descendants(graph, "in") & networkx.ancestors(graph, "out")
    expected = [max(1, sum(node[0] == layer for node in alive)) for layer in range(1, len(masks))]
    assert list(widths(slim(model, masks, images())).values()) == [*expected, IMAGE["classes"]]


@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
@pytest.mark.parametrize("dying", [0.3, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_what_goes_is_what_can_be_overwritten_or_never_changes(name, dying, seed):
    """Brute force: each unit is overwritten by noise, and watched over many inputs."""
    model = trained(name, seed).double()
    masks = structured_masks(model, seed, dying)
    whole, x = masked(model, masks), images(64, torch.float64, scale=10.0)
    padded = {"conv2"} if name == "small_cnn" else set()
    layers = [n for n, m in whole.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    expected, outputs = {}, whole(x)
    for layer, reader in zip(layers, layers[1:], strict=False):
        free = []
        for unit in range(widths(whole)[layer]):
            watched = []

            def overwrite(module, inputs, out, unit=unit, watched=watched):
                watched.append(out[:, unit])
                out = out.clone()
                out[:, unit] = 100 * torch.randn(out[:, unit].shape, generator=generator(unit), dtype=out.dtype)
                return out

            handle = whole.get_submodule(layer).register_forward_hook(overwrite)
            unread = torch.equal(whole(x), outputs)
            handle.remove()
            low, high = watched[0].aminmax()
            constant = high - low <= 1e-12 * high.abs() and (reader not in padded or high <= 0)  # a ReLU follows
            free.append(unread or bool(constant))
        expected[layer] = max(1, free.count(False))
    found = widths(slim(model, masks, images(2, torch.float64)))
    assert {layer: found[layer] for layer in expected} == expected


def test_a_perceptron_shrinks_as_worked_out_by_hand():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    weights = (
        [[1, 2, 0], [0, 0, 0], [0, 0, 0], [3, 0, 1]],  # unit 1 is the constant 2, unit 2 the constant 0
        [[1, 5, 7, 0], [0, 3, 1, 0], [1, 1, 1, 1]],  # unit 1 is then relu(3 * 2 - 1) = 5
        [[2, 1, 0], [1, -1, 0]],  # nothing reads unit 2, and so nothing reads unit 3 of the first layer
    )
    biases = ([0, 2, -4, 1], [0.5, -1, 0], [10, 20])
    for layer, weight, bias in zip(model[::2], weights, biases, strict=True):
        layer.weight.data = torch.tensor(weight, dtype=torch.float64)
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    slimmed = slim(model, None, torch.zeros(2, 3))
    expected = [[[1, 2, 0]], [0], [[1]], [0.5 + 5 * 2], [[2], [1]], [10 + 5, 20 - 5]]
    assert [p.tolist() for p in slimmed.parameters()] == expected
    assert [(m.in_features, m.out_features) for m in slimmed[::2]] == [(3, 1), (1, 1), (1, 2)]
    assert flops(slimmed, {}, torch.zeros(1, 3, dtype=torch.float64))["dense"] == 2 * (3 + 1 + 2)


@pytest.mark.parametrize("unread", [(), (0,), (1,), (0, 1)])
def test_a_layer_without_a_bias_gets_one_for_the_constants(unread):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, bias=False)).double()
    model[0].weight.data[0] = 0
    model[1].weight.data[list(unread), 0] = 0
    expected = model[1].weight[:, 0] * model[0].bias[0]
    slimmed = slim(model, None, torch.ones(2, 3))
    assert slimmed[1].weight.shape == (2, 1)
    if expected.any():
        assert torch.allclose(slimmed[1].bias, expected, rtol=1e-12)
    else:
        assert slimmed[1].bias is None


def sequence(*layers, scale=1.0):
    """Layers with weights and biases other than 0, in double precision; outputs grow with the scale."""
    model, noise = nn.Sequential(*layers).double().eval(), generator(len(layers))
    for parameter in model.parameters():
        parameter.data = torch.rand(parameter.shape, generator=noise, dtype=torch.float64) + 0.5
        parameter.data *= torch.randn(parameter.shape, generator=noise, dtype=torch.float64).sign()
        if parameter.ndim == 1:
            parameter.data *= scale
    model[0].weight.data *= scale
    return model


def slimmed_widths(model, *shape):
    """Widths of the slim model, whose outputs on other inputs are those of the whole one."""
    slimmed = slim(model, None, torch.randn(4, *shape, generator=generator(4), dtype=torch.float64))
    x = 3 * torch.randn(9, *shape, generator=generator(9), dtype=torch.float64)
    expected = model(x)
    assert (slimmed(x) - expected).abs().max() <= 1e-9 * expected.abs().max()  # rounding of sums in another order
    return widths(slimmed)


@pytest.mark.parametrize(("convolution", "shape"), [(nn.Conv1d, (2, 9)), (nn.Conv2d, (2, 9, 8))])
@pytest.mark.parametrize(("padding", "left"), [(0, 2), ("valid", 2), (1, 3), ("same", 3)])
def test_a_constant_moves_into_a_convolution_that_does_not_pad(convolution, shape, padding, left):
    model = sequence(convolution(2, 3, 3), nn.ReLU(), convolution(3, 2, 3, padding=padding))
    model[0].weight.data[1], model[0].bias.data[1] = 0, 2
    assert slimmed_widths(model, *shape) == {"0": left, "2": 2}
    if left == 2:
        bias = slim(model, None, torch.ones(1, *shape))[2].bias
        assert torch.allclose(bias, model[2].bias + 2 * model[2].weight[:, 1].flatten(1).sum(1), rtol=1e-12)


def test_a_border_of_zeros_from_a_layer_of_its_own_keeps_a_constant_too():
    model = sequence(nn.Conv2d(1, 4, 3), nn.ZeroPad2d(1), nn.Conv2d(4, 2, 3))
    model[0].weight.data[:2] = 0
    model[0].bias.data[:2] = torch.tensor([0, 2])
    model[2].weight.data[:, 2] = 0
    assert slimmed_widths(model, 1, 7, 7) == {"0": 2, "2": 2}


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_what_depends_on_its_place_alone_is_no_constant(scale):
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3)
    model = sequence(*layers, scale=scale)
    model[0].weight.data[0], model[0].bias.data[0] = 0, scale
    model[1].weight.data[0, 0], model[1].weight.data[0, 1] = 1, 0  # 4, 6 or 9 times the scale, and a bias
    model[2].weight.data[:, 1] = 0
    assert slimmed_widths(model, 1, 7, 7) == {"0": 2, "1": 2, "2": 2}


class Ranked(nn.Module):
    """Code that treats units by their number."""

    def forward(self, x):
        return x * torch.arange(1, x.shape[1] + 1)


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_where_code_numbers_the_units_they_stay_and_what_comes_after_goes(scale):
    model = sequence(nn.Linear(3, 4), Ranked(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2), scale=scale)
    model[2].weight.data[:, 0] = 0
    model[2].weight.data[1], model[2].bias.data[1] = 0, 0.3 * scale
    model[4].weight.data[1], model[4].bias.data[1] = 0, 0  # an output of 0 is no measure for the others
    assert slimmed_widths(model, 3) == {"0": 4, "2": 4, "4": 2}


def test_a_model_that_puts_out_zeros_keeps_a_unit_in_each_layer():
    model = sequence(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    model[2].weight.data.zero_()
    assert slimmed_widths(model, 3) == {"0": 1, "2": 2}


def test_layers_over_a_sequence_shrink_alike():
    model = sequence(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    model[0].weight.data[1] = model[2].weight.data[:, 2] = 0
    model[4].weight.data[:, 0] = 0
    assert slimmed_widths(model, 5, 3) == {"0": 2, "2": 2, "4": 2}


@pytest.mark.parametrize("channels", [2, 3])
def test_a_depthwise_convolution_follows_however_few_its_channels(channels):
    layers = nn.Conv2d(1, channels, 3), nn.Conv2d(channels, channels, 3, groups=channels), nn.Conv2d(channels, 2, 1)
    model = sequence(*layers)
    model[2].weight.data[:, 1] = 0
    assert slimmed_widths(model, 1, 7, 7) == {"0": channels - 1, "1": channels - 1, "2": 2}


@pytest.mark.parametrize(("channels", "groups"), [((2, 4), 2), ((4, 4), 2)])
def test_a_convolution_in_groups_that_mix_keeps_its_size(channels, groups):
    first, second = channels
    model = sequence(nn.Conv2d(1, first, 3), nn.Conv2d(first, second, 3, groups=groups), nn.Conv2d(second, 3, 1))
    model[0].weight.data[1] = model[2].weight.data[:, 1] = 0
    model = nn.Sequential(*model, nn.Conv2d(3, 2, 1)).double()
    model[3].weight.data[:, 0] = 0
    assert slimmed_widths(model, 1, 7, 7) == {"0": first, "1": second, "2": 2, "3": 2}


def test_weights_of_one_count_as_any_other():
    model = sequence(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 2))
    for layer, weight in zip(
        model, ([[-1, 0], [1, -1], [0, 0]], [[-1, 0, 5], [0, 1, -1]], [[-1, 1], [1, -1]]), strict=True
    ):
        layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    assert slimmed_widths(model, 2) == {"0": 2, "1": 2, "2": 2}


class Wired(nn.Module):
    """Two layers, joined by a function of the first one's input and output."""

    def __init__(self, units, columns, wire):
        super().__init__()
        self.first, self.last, self.wire = nn.Linear(3, units), nn.Linear(columns, 2), wire

    def forward(self, x):
        return self.wire(x, self.first(x), self.last)


@pytest.mark.parametrize(
    ("units", "columns", "unread", "wire"),
    [
        (5, 5, [1, 4], lambda x, h, last: last(torch.cat([x + h[:, :3], h[:, 3:]], dim=1))),  # unit 1 joins an input
        (5, 3, [1], lambda x, h, last: torch.cat([h[:, :2], last(h[:, 2:])], dim=1)),  # units 0 and 1 are put out
        (4, 5, [1], lambda x, h, last: last(torch.cat([h, x.new_ones(len(x), 1)], dim=1))),  # no unit makes column 4
    ],
)
def test_what_no_layer_alone_decides_stays_and_another_unit_beside_it_goes(units, columns, unread, wire):
    model = Wired(units, columns, wire).double()
    model.last.weight.data[:, unread] = 0
    assert slimmed_widths(model, 3) == {"first": units - 1, "last": 2}


class Twice(nn.Module):
    """One layer that runs twice and so reads two others."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.shared, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last((self.shared(self.a(x)) + self.shared(self.b(x))).relu())


@pytest.mark.parametrize(("constants", "left"), [((1.0, 1.0), 1), ((1.0, 1.5), 2), ((1.5, 1.0), 2), ((1.0, 1e-3), 2)])
def test_a_constant_moves_into_a_layer_that_runs_twice_if_it_is_the_same_each_time(constants, left):
    model = Twice().double()
    for layer, constant in zip((model.a, model.b), constants, strict=True):
        layer.weight.data[0], layer.bias.data[0] = 0, constant
    model.shared.weight.data[:, 2] = 0
    assert slimmed_widths(model, 3) == {"a": left, "b": left, "shared": 4, "last": 2}


@pytest.mark.parametrize(("shift", "left"), [(-9.0, 2), (9.0, 3)])
def test_a_constant_channel_stays_where_a_border_of_zeros_would_show_it(shift, left):
    model = trained("depthwise_cnn").double()
    masks = {"conv.weight": torch.ones_like(model.conv.weight, dtype=torch.bool)}
    masks["conv.weight"][1] = False
    model.norm.bias.data[1] = shift  # after the ReLU: 0, or more
    for norm in (model.blocks[0].norm1, model.blocks[1].norm1):
        norm.running_mean.data.fill_(10.0)  # what the depthwise filter puts out is then 0 after its ReLU
    slimmed = slim(model, masks, images(2, torch.float64))
    block = slimmed.blocks[0]
    assert widths(slimmed)["conv"] == slimmed.norm.num_features == left
    assert block.depthwise.groups == block.depthwise.in_channels == block.norm1.num_features == left
    assert block.pointwise.in_channels == left


@pytest.mark.parametrize(("branch", "shortcut", "left"), [(True, True, 3), (True, False, 4), (False, True, 4)])
def test_channels_joined_by_a_sum_go_together_or_not_at_all(branch, shortcut, left):
    model = trained("residual").double()
    block, dead = model.block1, 2
    for layers, dies in (((block.conv2, block.norm2), branch), (tuple(block.shortcut[1:]), shortcut)):
        if dies:
            layers[0].weight.data[dead] = 0
            layers[1].running_mean.data[dead], layers[1].bias.data[dead] = 0, -1  # together at most 0: the ReLU's 0
    slimmed = slim(model, None, images(2, torch.float64))
    # The next block adds these channels to its own, which live.
    assert widths(slimmed)["block1.conv2"] == widths(slimmed)["block1.shortcut.1"] == 4
    model.block2.conv2.weight.data[dead] = 0
    model.block2.norm2.running_mean.data[dead], model.block2.norm2.bias.data[dead] = 0, -1
    slimmed = slim(model, None, images(2, torch.float64))
    joined = ["block1.conv2", "block1.shortcut.1", "block2.conv2"]
    assert [widths(slimmed)[layer] for layer in joined] == [left] * 3
    assert slimmed.block2.norm2.num_features == slimmed.block3.conv1.in_channels == left


def test_ranks_of_a_recurrent_net_go_and_its_state_stays():
    model = trained("fastgrnn")
    model.cell.input_down.weight.data[[0, 2]] = 0
    model.cell.state_up.weight.data[:, 1] = 0
    model.cell.state_up.weight.data[3] = model.cell.input_up.weight.data[3] = 0
    model.output.weight.data[:, 3] = 0
    model.cell.state_down.weight.data[:, 3] = 0
    slimmed = slim(model, None, images())
    whole = widths(model)
    assert widths(slimmed) == whole | {"cell.input_down": 2, "cell.state_down": 4}


def test_a_size_that_code_fixes_stays_and_what_comes_after_it_goes():
    layers = [nn.Linear(3, 4), nn.Unflatten(1, (2, 2)), nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)]
    model = nn.Sequential(*layers)
    model[0].weight.data[2] = model[3].weight.data[1] = 0
    assert widths(slim(model, None, torch.ones(2, 3))) == {"0": 4, "3": 4, "5": 2}


def test_the_model_given_is_left_alone_and_a_smaller_one_forgets_its_arguments():
    model = trained("mlp").train()
    before = copy.deepcopy(model.state_dict())
    masks = {"linear1.weight": torch.arange(9)[:, None].expand(9, 144) > 0}
    slimmed = slim(model, masks, images())
    assert model.training and not slimmed.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in [*model.modules(), *slimmed.modules()])
    assert widths(slimmed)["linear1"] == 8
    assert not hasattr(slimmed, "registry_name") and not hasattr(slimmed, "arguments")


@pytest.mark.parametrize(
    ("name", "shape"), [("linear9.weight", (9, 144)), ("linear1.weight", (9, 143)), ("linear1", (9, 144))]
)
def test_a_mask_that_does_not_fit_is_named(name, shape):
    with pytest.raises(InputError, match=f"{name}: the mask fits no weight"):
        slim(trained("mlp"), {name: torch.ones(shape, dtype=torch.bool)}, images())
