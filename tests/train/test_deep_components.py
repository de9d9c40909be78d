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


def test_a_view_is_the_image_moved_with_its_edge_drawn_out():
    x = torch.arange(2 * 25.0).view(2, 1, 5, 5)
    moved = view(x, 1, 0.0, torch.Generator().manual_seed(0))
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    offsets = set()
    for i in range(2):
        found = [
            (a, b) for a in range(3) for b in range(3) if torch.equal(moved[i, 0], padded[i, 0, a : a + 5, b : b + 5])
        ]
        assert len(found) == 1
        offsets.add(found[0])
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
