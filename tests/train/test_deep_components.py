"""Learnt components: what is pooled and argued, the losses written out, the three parts of training."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from winnow.train.deep_components import (
    DeepCBC,
    DeepRecipe,
    PipnetHead,
    _Views,
    alignment,
    fit_deep,
    planted_absence,
    usage,
    view,
)
from winnow.train.rbf_components import margin_loss

RECIPE = DeepRecipe(warm_epochs=2, epochs=2, head_epochs=1, batch=16, learning_rate=0.01)


def net(head="cbc", components=5, classes=3):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    return DeepCBC(backbone, 4, components, classes, head, seed=1)


def images(n=24):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 3


@pytest.mark.parametrize("head", ["cbc", "rbf", "pipnet"])
def test_components_compete_at_each_place_and_the_best_place_counts(head):
    model, (x, _) = net(head), images(4)
    maps = model.maps(x)
    assert maps.shape == (4, 5, 6, 6)
    torch.testing.assert_close(maps.sum(1), torch.ones(4, 6, 6))
    d = model.detections(x)
    for i in range(4):
        for k in range(5):
            assert float(d[i, k].detach()) == float(maps[i, k].max().detach())
    if head == "pipnet":
        torch.testing.assert_close(model(x), d @ model.head.weight.clamp(min=0))
    else:
        plus, minus = model.head.probabilities()
        torch.testing.assert_close(model(x), d @ plus + (1 - d) @ minus)
        assert bool((minus == 0).all()) == (head == "rbf")


def test_pipnets_logits_spread_scores_and_its_exponent_stays_above_one():
    head = PipnetHead(3, 2)
    scores = torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(head.logits(scores), torch.tensor([[0.0, math.log(5)]]), atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        head.exponent.fill_(0.2)
    torch.testing.assert_close(head.logits(scores), torch.tensor([[0.0, math.log(3)]]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shift", [1, 2])
def test_a_view_is_the_image_moved_with_its_edge_drawn_out(shift):
    x = torch.arange(200 * 2 * 20.0).view(200, 2, 5, 4)
    moved = view(x, shift, 0.0, torch.Generator().manual_seed(0))
    padded = F.pad(x, (shift,) * 4, mode="replicate")
    sides, offsets = range(2 * shift + 1), set()
    for i in range(200):
        found = [(a, b) for a in sides for b in sides if torch.equal(moved[i], padded[i, :, a : a + 5, b : b + 4])]
        assert len(found) == 1
        offsets.add(found[0])
    assert offsets == {(a, b) for a in sides for b in sides}  # of 25, one is missed in .7 percent of seeds
    assert torch.equal(view(x, 0, 0.0, torch.Generator()), x)
    many = view(torch.zeros(200, 1, 5, 5), 0, 0.5, torch.Generator().manual_seed(0))
    assert float(many.std()) == pytest.approx(0.5, abs=0.03)  # 5,000 draws: five standard errors are .025


def test_alignment_and_usage_by_hand():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 4, 2, 2, generator=generator).softmax(1) for _ in range(2))
    agreement = [float((a[n, :, i, j] * b[n, :, i, j]).sum()) for n in range(3) for i in range(2) for j in range(2)]
    assert float(alignment(a, b)) == pytest.approx(-sum(map(math.log, agreement)) / 12, rel=1e-5)
    used = [math.log(math.tanh(sum(float(m[n, k].max()) for n in range(3)))) for m in (a, b) for k in range(4)]
    assert float(usage(a, b)) == pytest.approx(-sum(used) / 8, rel=1e-5)


def test_views_that_agree_nowhere_and_components_that_are_never_met_cost_what_is_finite():
    one, other = (torch.tensor(maps).view(1, 2, 1, 1).requires_grad_() for maps in ([1.0, 0.0], [0.0, 1.0]))
    assert float(alignment(one, other).detach()) == pytest.approx(-math.log(1e-8))
    expected = (-math.log(math.tanh(1) + 1e-8) - math.log(1e-8)) / 2
    assert float(usage(one, other).detach()) == pytest.approx(expected)
    nothing = torch.zeros(1, 2).requires_grad_()
    head = PipnetHead(3, 2)
    with torch.no_grad():
        head.exponent.fill_(1.5)
    head.logits(nothing).sum().backward()
    assert torch.isfinite(nothing.grad).all() and torch.isfinite(head.exponent.grad).all()


def test_each_view_is_drawn_to_the_other_held_still():
    a = torch.rand(1, 2, 1, 1).requires_grad_()
    b = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1)
    alignment(a, b).backward()
    torch.testing.assert_close(a.grad, -b / (a * b).sum().detach() / 2, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("head", ["cbc", "rbf", "pipnet"])
def test_each_part_has_its_losses(head):
    model, (x, y) = net(head), images(6)
    batch, both = (x, x + 0.1, y), torch.cat([x, x + 0.1])
    maps = model.maps(both)
    halves, labels = maps.chunk(2), torch.cat([y, y])
    pull, spread = alignment(*halves), usage(*halves)
    warm = _Views(model, x, y, RECIPE, "warm")
    for epoch, share in ((0, 0.5), (1, 1.0)):
        list(warm.batches("train", 6, 0, epoch))
        torch.testing.assert_close(warm.loss(model, batch), share * pull + 5 * spread)
    scores = model(both)
    if head == "pipnet":
        of_class = F.cross_entropy(model.head.logits(scores), labels)
        expected = 2 * of_class + 5 * pull + 2 * spread
    else:
        of_class = expected = margin_loss(scores, labels, 0.025)
    torch.testing.assert_close(_Views(model, x, y, RECIPE, "joint").loss(model, batch), expected)
    last = _Views(model, x, y, RECIPE, "head").loss(model, batch)
    torch.testing.assert_close(last, of_class)
    model.zero_grad(set_to_none=True)
    last.backward()
    assert model.detector.weight.grad is None


def test_the_warm_up_leaves_the_head_and_the_last_part_leaves_the_network():
    def state(module):
        return [p.detach().clone() for p in module.parameters()]

    def moved(before, module):
        return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))

    x, y = images()
    for recipe, network, head in (
        (DeepRecipe(warm_epochs=1, epochs=0, head_epochs=0, batch=8), True, False),
        (DeepRecipe(warm_epochs=0, epochs=1, head_epochs=0, batch=8, margin=0.5), True, True),
        (DeepRecipe(warm_epochs=0, epochs=0, head_epochs=1, batch=8, margin=0.5), False, True),
    ):
        model = net()
        before = state(model.backbone), state(model.head)
        fit_deep(model, x, y, recipe, seed=0)
        assert (moved(before[0], model.backbone), moved(before[1], model.head)) == (network, head)


def test_training_repeats_itself_and_tells_the_loss_of_every_step():
    x, y = images()
    first, again = net(), net()
    history = fit_deep(first, x, y, RECIPE, seed=0)
    fit_deep(again, x, y, RECIPE, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert [step for _, _, step in history] == list(range(1, 11))
    assert [metric for metric, _, _ in history] == ["warm_loss"] * 4 + ["joint_loss"] * 4 + ["head_loss"] * 2


def test_the_authors_numbers_are_the_usual_ones():
    usual = DeepRecipe()
    assert (usual.warm_epochs, usual.epochs, usual.head_epochs, usual.batch) == (12, 84, 48, 64)
    assert (usual.learning_rate, usual.head_learning_rate, usual.margin) == (3.75e-4, 5e-3, 0.025)
    assert (usual.shift, usual.noise) == (2, 0.1)


def test_a_new_network_is_drawn_from_its_seed_alone():
    head = PipnetHead(400, 50)
    weight = head.weight.detach()
    assert float(weight.mean()) == pytest.approx(1, abs=0.004) and float(weight.std()) == pytest.approx(0.1, rel=0.03)
    assert head.exponent.tolist() == [2.0]
    assert torch.equal(weight, PipnetHead(400, 50, 0).weight) and not torch.equal(weight, PipnetHead(400, 50, 1).weight)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    usual = DeepCBC(nn.Identity(), 4, 5, 3)
    assert torch.equal(torch.rand(1), before)
    told, other = (DeepCBC(nn.Identity(), 4, 5, 3, "cbc", seed) for seed in (0, 1))
    assert torch.equal(usual.detector.weight, told.detector.weight)
    assert not torch.equal(usual.detector.weight, other.detector.weight)
    assert torch.equal(usual.head.logits, told.head.logits) and not torch.equal(usual.head.logits, other.head.logits)
    assert not torch.equal(*(DeepCBC(nn.Identity(), 4, 5, 3, "pipnet", seed).head.weight for seed in (0, 1)))


def test_every_image_comes_once_an_epoch_in_two_views_and_every_epoch_anew():
    x, y = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 1, 3, 3), torch.arange(40)
    parts = {
        part: _Views(net(), x, y, DeepRecipe(shift=1, noise=noise), part)
        for part, noise in (("warm", 0.0), ("joint", 0.1))
    }

    def order(part, *epoch, seed=0):
        return torch.cat([labels for *_, labels in parts[part].batches("train", 16, seed, *epoch)]).tolist()

    batches = list(parts["warm"].batches("train", 16, 0, 0))
    assert [len(labels) for *_, labels in batches] == [16, 16, 8]
    for first, second, labels in batches:
        assert torch.equal(first, x[labels]) and torch.equal(second, x[labels])  # plain images, moved but alike
    assert sorted(order("warm", 0)) == y.tolist()
    others = [order("warm", 1), order("joint", 0), order("warm", 0, seed=1), y.tolist()]
    assert order("warm", 0) not in others and order("warm") == order("warm", 0) == order("warm", 0, seed=None)
    first, second, labels = next(parts["joint"].batches("train", 40, 0, 0))
    assert float((first - x[labels]).std()) == pytest.approx(0.1, rel=0.3) and not torch.equal(first, second)


@pytest.mark.parametrize("head", ["cbc", "pipnet"])
def test_the_first_step_of_adamw_moves_network_and_head_at_their_own_rates(head):
    x, y = images()
    recipe = DeepRecipe(warm_epochs=0, epochs=1, head_epochs=0, batch=24, margin=0.9, shift=0, noise=0.0)
    model = net(head)
    before = [p.detach().clone() for p in model.parameters()]
    told = []
    fit_deep(model, x, y, recipe, seed=0, progress=lambda done, total: told.append((done, total)))
    names = [name for name, _ in model.named_parameters()]
    for name, old, new in zip(names, before, model.parameters(), strict=True):
        moved = float((new.detach() - old).abs().median())
        rate = 5e-3 if name.startswith("head") else 3.75e-4
        if name != "head.exponent" and "bias" not in name:  # decay of a hundredth of the rate beside it
            assert moved == pytest.approx(rate, rel=0.05), name
    assert told[-1] == (1, 1)


@pytest.mark.parametrize("side", [12, 16])
def test_planted_images_are_noise_and_a_cross_and_a_ring_where_they_are_said_to_be(side):
    """Each shape is found again where it leaves noise alone: in the upper half crosses, in the lower half rings."""
    x, y = planted_absence(120, seed=2, side=side)
    assert torch.equal(x, planted_absence(120, 2, side)[0])
    if side == 16:
        assert torch.equal(x, planted_absence(120, seed=2)[0])
    shapes = torch.tensor([[[1.0, 0, 1], [0, 1, 0], [1, 0, 1]], [[1, 1, 1], [1, 0, 1], [1, 1, 1]]])
    room, places, rest = side // 2 - 3, [set(), set()], x[:, 0].clone()
    for half, shape in enumerate(shapes):
        top = half * (side // 2)
        likeness = F.conv2d(x[:, :, top : top + side // 2], shape[None, None])[:, 0]
        for i, (best, at) in enumerate(zip(*likeness.flatten(1).max(1), strict=True)):
            there = bool(best > shape.sum() / 2)
            if half == 0:
                assert there == (int(y[i]) == 0)
            if there:
                a, b = divmod(int(at), side - 2)
                places[half].add((a, b))
                rest[i, top + a : top + a + 3, b : b + 3] -= shape
    assert float(rest.abs().max()) < 0.6 and float(rest.std()) == pytest.approx(0.1, rel=0.03)
    assert abs(float(rest.mean())) < 0.003
    every = {(a, b) for a in range(room) for b in range(room)}
    assert all(found <= every for found in places) and len(places[0]) > 0.8 * room**2
    for axis in (0, 1):  # from the first place to the last
        assert all({at[axis] for at in found} == set(range(room)) for found in places)


def test_planted_images_differ_by_an_absence_alone():
    x, y = planted_absence(400, seed=0)
    assert x.shape == (400, 1, 16, 16) and y.tolist() == [0, 1] * 200
    top = x[:, 0, :8].amax(dim=(1, 2))
    assert (top[y == 0] > 0.6).all() and (top[y == 1] < 0.6).all()
    ring = x[:, 0, 8:].amax(dim=(1, 2)) > 0.7
    # Of 200 each, half; five standard deviations of the difference are .25.
    assert abs(float(ring[y == 0].double().mean() - ring[y == 1].double().mean())) < 0.25
    assert 0.3 < float(ring.double().mean()) < 0.7
    assert not torch.equal(planted_absence(400, seed=1)[0], x)
