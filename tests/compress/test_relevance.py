"""Criteria equal what differences of the loss say, and pruning removes what they rank lowest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from winnow.attribution.relevance import relevance
from winnow.compress._masking import finetune
from winnow.compress._slimming import slim
from winnow.compress.relevance import _without_lowest, criterion_scores, prune_iteratively, unit_layers
from winnow.errors import InputError
from winnow.models import build
from winnow.models.hooks import capture

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}
NETS = ["mlp", "small_cnn", "residual", "depthwise_cnn"]
SMALL = {
    "mlp": {"hidden": [9, 7]},
    "small_cnn": {"channels": 4, "hidden": 6},
    "residual": {"channels": 2},
    "depthwise_cnn": {"channels": [3, 4, 5]},
}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(name, seed=0):
    model = build(name, **IMAGE, **SMALL[name]).double()
    for i, tensor in enumerate([*model.parameters(), *model.buffers()]):
        if tensor.is_floating_point() and tensor.ndim:
            tensor.data = noise(*tensor.shape, seed=seed + i) / max(1, tensor[0].numel()) ** 0.5
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.data = norm.running_var.abs() + 0.5
    return model.eval()


def samples(n=6):
    return noise(n, 1, 9, 8, seed=7), torch.arange(n) % 3


def unit_outputs(name):
    """Layer -> the module that puts its units out: the batch norm, where one follows."""
    return {
        "mlp": {"linear1": "linear1", "linear2": "linear2"},
        "small_cnn": {"conv1": "conv1", "conv2": "conv2", "linear1": "linear1"},
        "depthwise_cnn": {
            "conv": "norm",
            "blocks.0.pointwise": "blocks.0.norm2",
            "blocks.1.pointwise": "blocks.1.norm2",
        },
        "residual": {
            "conv": "norm",
            "block1.conv1": "block1.norm1",
            "block1.conv2": "block1.norm2",
            "block1.shortcut.1": "block1.shortcut.2",
            "block2.conv1": "block2.norm1",
            "block2.conv2": "block2.norm2",
            "block3.conv1": "block3.norm1",
            "block3.conv2": "block3.norm2",
            "block3.shortcut.1": "block3.shortcut.2",
        },
    }[name]


def loss_with(model, module, unit, change):
    """Mean cross-entropy where change(values) stands for what one unit puts out."""

    def edit(m, inputs, out):
        out = out.clone()
        out[:, unit] = change(out[:, unit])
        return out

    x, y = samples()
    handle = model.get_submodule(module).register_forward_hook(edit)
    with torch.no_grad():
        loss = functional.cross_entropy(model(x), y)
    handle.remove()
    return float(loss)


def normalised(values):
    values = torch.tensor(values, dtype=torch.float64)
    return values / values.norm() if values.any() else values


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    ("kind", "change"), [("taylor", lambda h: lambda a: a * (1 + h)), ("gradient", lambda h: lambda a: a + h)]
)
def test_gradients_of_units_are_slopes_of_the_loss(name, kind, change):
    model, h = trained(name), 1e-6
    found = criterion_scores(model, *samples(), kind)
    assert list(found) == list(unit_outputs(name))
    for layer, module in unit_outputs(name).items():
        width = len(model.get_submodule(layer).weight)
        slopes = [
            abs(loss_with(model, module, u, change(h)) - loss_with(model, module, u, change(-h))) for u in range(width)
        ]
        # Central differences: h^2 of truncation, 1e-16 / h of rounding.
        assert torch.allclose(found[layer], normalised(slopes), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "factor"), [("taylor", 1), ("gradient", 0)])
def test_gradients_of_weights_are_slopes_of_the_loss(kind, factor):
    model, (x, y), h = trained("mlp"), samples(), 1e-6
    found = criterion_scores(model, x, y, kind, "weight")
    assert list(found) == ["linear1.weight", "linear2.weight", "output.weight"]
    weight, slopes = model.linear2.weight.data, torch.zeros(7, 9).double()
    for index in range(weight.numel()):
        losses, before = [], float(weight.view(-1)[index])
        for side in (h, -h):
            weight.view(-1)[index] = before + side
            losses.append(functional.cross_entropy(model(x), y).item())
        weight.view(-1)[index] = before
        slopes.view(-1)[index] = abs((losses[0] - losses[1]) * before**factor)
    assert torch.allclose(found["linear2.weight"], slopes / slopes.norm(), rtol=1e-4, atol=1e-6)


def test_magnitudes_are_added_up_and_each_layer_has_norm_one():
    model = nn.Sequential(nn.Conv2d(1, 2, (1, 2)), nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].weight.data = torch.tensor([[[[1.0, -2.0]]], [[[0.0, 4.0]]]])
    model[2].weight.data = torch.zeros(2, 2)
    x, y = torch.ones(1, 1, 1, 2), torch.tensor([0])
    found = criterion_scores(model, x, y, "weight")
    assert found["0"].tolist() == pytest.approx([0.6, 0.8]) and found["2"].tolist() == [0, 0]
    by_weight = criterion_scores(model, x, y, "weight", "weight")
    assert by_weight["0.weight"].flatten().tolist() == pytest.approx([v / 21**0.5 for v in (1, 2, 0, 4)])
    assert list(by_weight) == ["0.weight", "2.weight", "3.weight"]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rule", ["zplus", "epsilon"])
def test_relevance_is_added_up_over_samples_and_positions_and_not_normalised(name, rule):
    model, (x, y) = trained(name), samples()
    found = criterion_scores(model, x, y, "relevance", rule=rule)
    arrived = relevance(model, x, y, rule=rule, weights=True)
    assert list(found) == unit_layers(model) == list(unit_outputs(name))
    for layer, score in found.items():
        by_hand = [sum(float(arrived.outputs[layer][n, u].sum()) for n in range(6)) for u in range(len(score))]
        assert score.tolist() == pytest.approx(by_hand, rel=1e-9, abs=1e-12)
    weights = criterion_scores(model, x, y, "relevance", "weight", rule=rule)
    assert {n.removesuffix(".weight") for n in weights} == arrived.weights.keys()
    assert all(torch.equal(weights[f"{n}.weight"], w) for n, w in arrived.weights.items())


def test_what_serves_other_classes_goes_first():
    """Two nets side by side, one for each class: of the one that the samples do not need all goes first."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    for layer, rows, columns in ((model[0], 3, 2), (model[2], 1, 3)):
        mask = torch.block_diag(torch.ones(rows, columns), torch.ones(rows, columns))
        layer.weight.data, layer.bias.data = noise(*mask.shape).abs() * mask, torch.zeros(len(mask)).double()
    x = noise(5, 4, seed=3).abs()
    for label, order in ((0, [3, 4, 5]), (1, [0, 1, 2])):
        states = list(prune_iteratively(model, x, torch.full((5,), label), "relevance", step=1 / 6, target=0.5))
        assert sorted((~states[-1].kept["0"]).nonzero().flatten().tolist()) == order


def test_noise_depends_on_the_seed_alone():
    model, (x, y) = trained("small_cnn"), samples()
    for units in ("filter", "weight"):
        scores = [criterion_scores(model, x[:n], y[:n], "random", units, seed=s) for n, s in ((6, 0), (3, 0), (6, 1))]
        flat = [torch.cat([v.flatten() for v in score.values()]) for score in scores]
        assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])
        assert 0 <= flat[0].min() < flat[0].max() <= 1 and len(flat[0].unique()) == len(flat[0])
        assert {n: s.shape for n, s in scores[0].items()} == {
            n: s.shape for n, s in criterion_scores(model, x, y, "weight", units).items()
        }


def one_by_one(scores, kept, count):
    """Removes one unit at a time: the lowest whose layer has another."""
    kept = {name: mask.clone() for name, mask in kept.items()}
    for _ in range(count):
        options = [
            (float(scores[name][u]), i, u, name)
            for i, (name, mask) in enumerate(kept.items())
            if mask.sum() > 1
            for u in mask.nonzero().flatten().tolist()
        ]
        _, _, unit, name = min(options)
        kept[name][unit] = False
    return kept


@given(st.integers(0, 10**6), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_the_lowest_go_and_each_layer_keeps_its_best(seed, sizes, data):
    scores = {str(i): noise(size, seed=seed + i) for i, size in enumerate(sizes)}
    kept = {name: torch.ones(len(score), dtype=torch.bool) for name, score in scores.items()}
    first = data.draw(st.integers(0, sum(sizes) - len(sizes)))
    second = data.draw(st.integers(0, sum(sizes) - len(sizes) - first))
    once = _without_lowest(scores, kept, first)
    other = {name: noise(len(score), seed=seed + 99) for name, score in scores.items()}
    twice = _without_lowest(other, once, second)
    for found, expected in ((once, one_by_one(scores, kept, first)), (twice, one_by_one(other, once, second))):
        assert {n: m.tolist() for n, m in found.items()} == {n: m.tolist() for n, m in expected.items()}


def test_among_equal_scores_the_earlier_unit_goes_and_none_may_be_undefined():
    kept = {"a": torch.ones(2, dtype=torch.bool), "b": torch.ones(3, dtype=torch.bool)}
    found = _without_lowest({"a": torch.zeros(2), "b": torch.zeros(3)}, kept, 2)
    assert found["a"].tolist() == [True, False] and found["b"].tolist() == [True, False, True]
    with pytest.raises(InputError, match="b: .* NaN"):
        _without_lowest({"a": torch.zeros(2), "b": torch.full((3,), torch.nan)}, kept, 1)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["relevance", "taylor", "gradient", "weight", "random"])
def test_states_are_nested_and_as_many_go_as_asked(name, kind):
    model, (x, y) = trained(name), samples()
    before = copy.deepcopy(model.state_dict())
    steps = prune_iteratively(model, x, y, kind, step=0.15, target=0.5)
    states = [(pruned, kept, copy.deepcopy(work)) for pruned, kept, work in steps]
    total = sum(len(mask) for mask in states[0][1].values())
    assert [round(s[0] * total) for s in states] == [round(total * share) for share in (0, 0.15, 0.3, 0.45, 0.5)]
    for (_, earlier, _), (pruned, kept, work) in zip(states, states[1:], strict=False):
        assert sum(int((~mask).sum()) for mask in kept.values()) == round(pruned * total)
        assert all((mask <= earlier[layer]).all() and mask.any() for layer, mask in kept.items())
        outputs = relevance(work, x, y).outputs
        for layer, mask in kept.items():
            assert (outputs[layer][:, ~mask] == 0).all() and work.get_submodule(layer).bias[~mask].eq(0).all()
    assert torch.allclose(states[0][2](x), model(x), rtol=1e-9)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


@pytest.mark.parametrize("name", NETS)
def test_pruned_units_can_be_removed(name):
    model, (x, y) = trained(name), samples()
    *_, last = prune_iteratively(model, x, y, "relevance", step=0.2, target=0.6)
    small = slim(last.model, None, x[:2])
    assert torch.allclose(small(x), last.model(x), atol=1e-9)
    sizes = {n: len(m.weight) for n, m in small.named_modules() if n in last.kept}
    if name in ("mlp", "small_cnn"):
        assert all(sizes[layer] <= int(mask.sum()) for layer, mask in last.kept.items())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in last.model.parameters())


def test_weights_are_pruned_in_all_layers():
    model, (x, y) = trained("mlp"), samples()
    *_, last = prune_iteratively(model, x, y, "taylor", units="weight", step=0.25, target=0.5)
    assert list(last.kept) == ["linear1.weight", "linear2.weight", "output.weight"]
    for name, mask in last.kept.items():
        assert torch.equal(last.model.get_parameter(name) != 0, mask) and mask.any()
    assert last.model.linear1.bias.ne(0).all() and last.pruned == 0.5


@pytest.mark.parametrize("name", ["small_cnn", "depthwise_cnn", "residual"])
def test_finetuning_trains_what_is_left_alone(name, blobs):
    x, y = blobs.splits["train"][0][:12], blobs.splits["train"][1][:12]
    model, calls = build(name, **IMAGE, **SMALL[name], seed=1), []

    def train(work, masks):
        calls.append({key: mask.clone() for key, mask in masks.items()})
        before = copy.deepcopy(work.state_dict())
        finetune(work, masks, blobs, epochs=1, lr=0.1, seed=len(calls), batch_size=30)
        assert any(not torch.equal(before[n], t) for n, t in work.state_dict().items())

    for pruned, kept, work in prune_iteratively(model, x, y, "relevance", step=0.2, target=0.4, finetune=train):
        if not pruned:
            continue
        assert not work.training and {key.removesuffix(".weight") for key in calls[-1]} >= kept.keys()
        for layer, mask in kept.items():
            outputs = capture(work, x, unit_outputs(name)[layer])
            assert (outputs[:, ~mask] == 0).all() and outputs[:, mask].ne(0).any()
    assert len(calls) == 2


def test_models_are_judged_in_eval_mode_and_states_are_in_it(blobs):
    x, y = blobs.splits["train"][0][:12], blobs.splits["train"][1][:12]
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 3))
    for kind in ("taylor", "gradient"):
        calm = criterion_scores(model.eval(), x, y, kind, "weight")
        restless = criterion_scores(model.train(), x, y, kind, "weight")
        assert all(torch.equal(calm[name], restless[name]) for name in calm) and model.training

    states = prune_iteratively(model, x, y, "taylor", step=0.3, target=0.6, finetune=lambda work, masks: work.train())
    assert [work.training for _, _, work in states] == [False] * 3


def test_unless_told_noise_is_of_seed_0():
    model, (x, y) = trained("mlp"), samples()

    def removed(**more):
        return [[m.tolist() for m in kept.values()] for _, kept, _ in prune_iteratively(model, x, y, "random", **more)]

    assert removed() == removed(seed=0, step=0.05, target=0.8) != removed(seed=1)
    assert removed() != removed(seed=-1)


def first_state(model=None, kind="relevance", **more):
    return next(prune_iteratively(model or trained("mlp"), *samples(), kind, **more))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"step": 0.0}, "step: is 0.0"),
        ({"step": 1.0}, "step: is 1.0"),
        ({"target": 1.0}, "target: is 1.0"),
        ({"target": 0.0}, "target: is 0.0"),
        ({"target": 0.95}, "target: 0.95 of 16 units leaves less than one for each of 2 layers"),
        ({"kind": "lrp"}, "criterion: is 'lrp'; use one of relevance, taylor, gradient, weight, random"),
        ({"units": "channel"}, "units: is 'channel'; use one of filter, weight"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()}, "model: has no hidden unit"),
    ],
)
def test_bad_input_is_told_in_one_line(more, said):
    with pytest.raises(InputError, match=said):
        first_state(**more)
    assert first_state(target=14 / 16).pruned == 0
