"""Hydra moves scores alone, and a lottery ticket is drawn round by round from an early network."""

import copy
import math

import pytest
import torch
from torch import nn

from winnow.compress import compress, early_network
from winnow.compress._masking import finetune, prunable_weights
from winnow.compress._rivals import hydra, imp, rounds_to
from winnow.compress._trained_masks import MOMENTUM, WEIGHT_DECAY
from winnow.compress.global_magnitude import global_masks
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}


def net(seed=1, **more):
    return build("mlp", **IMAGE, hidden=[12, 8], seed=seed, **more)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Rows:
    """Half the mean squared error of one linear layer, in two batches of stored order."""

    x, y = noise(12, 6), noise(12, seed=1)

    def batches(self, split, size, seed=None, epoch=0):
        for rows in torch.arange(12).split(size):
            yield self.x[rows], self.y[rows]

    def loss(self, model, batch, label_smoothing=0.0):
        return 0.5 * ((model(batch[0])[:, 0] - batch[1]) ** 2).mean()

    def metrics(self, model, split):
        return {"loss": float(self.loss(model, (self.x, self.y)))}


def test_scores_of_hydra_move_as_written_out_by_hand():
    model = nn.Linear(6, 1).double()
    weight, bias = model.weight.detach().clone()[0], model.bias.detach().clone()
    found = hydra(model, Rows(), 0.5, epochs=3, finetune_epochs=0, lr=0.1, mask_lr=0.3, batch_size=6)
    score, momentum = weight.abs() / weight.abs().max(), torch.zeros(6).double()
    for step in range(6):
        mask = torch.zeros(6).double()
        mask[score.argsort(descending=True)[:3]] = 1
        x, y = Rows.x[6 * (step % 2) :][:6], Rows.y[6 * (step % 2) :][:6]
        slope = weight * (x.T @ (x @ (mask * weight) + bias - y)) / 6 + WEIGHT_DECAY * score
        momentum = MOMENTUM * momentum + slope
        score = score - 0.3 * 0.5 * (1 + math.cos(math.pi * step / 6)) * momentum
    assert torch.allclose(found.scores["weight"][0], score, rtol=1e-9)
    kept = score >= score.topk(3).values.min()
    assert torch.equal(found.masks["weight"][0], kept) and found.examples == 36
    assert torch.equal(found.model.weight[0], torch.where(kept, weight, 0.0)) and torch.equal(found.model.bias, bias)


def test_hydra_tunes_what_it_keeps_and_leaves_the_dense_model_alone(blobs):
    model = net()
    before = copy.deepcopy(model.state_dict())
    settings = {"lr": 0.05, "mask_lr": 1.0, "batch_size": 15, "seed": 3}
    raw = hydra(model, blobs, 0.2, epochs=2, finetune_epochs=0, **settings)
    tuned = hydra(model, blobs, 0.2, epochs=2, finetune_epochs=2, **settings)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(raw.masks[n], m) for n, m in tuned.masks.items())
    weights, total = prunable_weights(tuned.model), 12 * 72 + 8 * 12 + 3 * 8
    assert sum(int(m.sum()) for m in tuned.masks.values()) == round(0.2 * total)
    assert all((w[~tuned.masks[n]] == 0).all() for n, w in weights.items())
    assert any(not torch.equal(w, raw.model.get_parameter(n)) for n, w in weights.items())
    assert not tuned.model.training and all(p.requires_grad for p in tuned.model.parameters())
    losses = [step for metric, _, step in tuned.history if metric == "loss"]
    assert losses == list(range(1, 25)) and tuned.examples == 4 * 90 and raw.examples == 180


@pytest.mark.parametrize(
    ("keep", "rounds"), [(0.9, 1), (0.8, 1), (0.79, 2), (0.64, 2), (0.5, 4), (0.512, 3), (0.01, 21)]
)
def test_each_round_drops_a_fifth_of_what_is_left(keep, rounds):
    assert rounds_to(keep) == rounds


def test_a_ticket_has_the_early_weights_where_the_dense_ones_were_large(blobs):
    dense, early = net(1), net(2)
    found = imp(dense, blobs, 0.7, early=early, epochs=0, lr=0.1)
    # Without training the second round ranks the early network's own magnitudes inside the first masks.
    first = global_masks(prunable_weights(dense), 0.8)
    left = {n: torch.where(first[n], w.abs(), -1) for n, w in prunable_weights(early).items()}
    whole = torch.cat([w.flatten() for w in left.values()])
    assert found.examples == 0 and sum(int(m.sum()) for m in found.masks.values()) == round(0.7 * whole.numel())
    for name, mask in found.masks.items():
        assert (mask <= first[name]).all()
        assert left[name][mask].min() >= whole.topk(round(0.7 * whole.numel())).values.min()
        expected = torch.where(mask, early.get_parameter(name), 0.0)
        assert torch.equal(found.model.get_parameter(name), expected)
    assert torch.equal(found.model.linear1.bias, early.linear1.bias)


@pytest.mark.parametrize("group", ["weight", "filter"])
def test_rounds_train_from_the_early_network_and_repeat_themselves(group, blobs):
    dense, early = net(1), net(2)
    before = copy.deepcopy(early.state_dict())
    runs = [imp(dense, blobs, 0.5, early=early, epochs=1, lr=0.05, group=group, batch_size=30) for _ in range(2)]
    assert all(torch.equal(t, before[n]) for n, t in early.state_dict().items())
    assert all(torch.equal(t, runs[1].model.state_dict()[n]) for n, t in runs[0].model.state_dict().items())
    assert runs[0].history == runs[1].history and runs[0].examples == 4 * 90
    assert [step for metric, _, step in runs[0].history if metric == "loss"] == list(range(1, 13))
    left = [value for metric, value, _ in runs[0].history if metric == "sparsity"]
    assert left == sorted(left) and len(left) == 4
    if group == "weight":
        assert left == pytest.approx([0.2, 0.36, 0.488, 0.5], abs=1e-3)
    else:
        assert int(runs[0].masks["linear1.weight"].all(1).sum()) == 6
        assert (runs[0].model.linear1.bias[~runs[0].masks["linear1.weight"].any(1)] == 0).all()


def test_an_early_network_has_seen_one_epoch_from_the_seeds_start(blobs):
    first, same, other = (early_network(net(9), blobs, 0.05, seed, batch_size=30) for seed in (4, 4, 5))
    assert torch.equal(first.linear1.weight, same.linear1.weight)
    assert not torch.equal(first.linear1.weight, other.linear1.weight)
    start = net(4)
    whole = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_weights(start).items()}
    finetune(start, whole, blobs, epochs=1, lr=0.05, seed=4, batch_size=30)
    assert torch.equal(first.linear1.weight, start.linear1.weight)
    with pytest.raises(InputError, match="not of the registry"):
        early_network(nn.Linear(3, 2), blobs, 0.1, 0)


@pytest.mark.parametrize(("keep", "early", "said"), [(1.0, net(), "keep: is 1.0"), (0.0, net(), "keep: is 0.0")])
def test_bad_input_is_told_in_one_line(keep, early, said, blobs):
    with pytest.raises(InputError, match=said):
        imp(net(), blobs, keep, early=early, epochs=1, lr=0.1)
    with pytest.raises(InputError, match="early: is another network"):
        imp(net(), blobs, 0.5, early=build("mlp", **IMAGE), epochs=1, lr=0.1)


@pytest.mark.parametrize("method", ["bilevel", "hydra", "imp"])
@pytest.mark.parametrize("group", ["weight", "filter", "channel"])
def test_learned_masks_come_by_name_like_scored_ones(method, group, blobs):
    model = net()
    settings = {"sparsity": 0.5, "seed": 2, "epochs": 2, "lr": 0.05, "batch_size": 30, "group": group}
    found, masks, history = compress(method, model, blobs, **settings)
    scored, expected, _ = compress("global_magnitude", model, blobs, **settings)
    assert list(masks) == list(expected) and not found.training and found.registry_name == "mlp"
    assert {n: int(m.sum()) for n, m in masks.items()} == {n: int(m.sum()) for n, m in expected.items()} or (
        group == "weight" and sum(int(m.sum()) for m in masks.values()) == 492
    )
    assert all((found.get_parameter(n)[~m] == 0).all() for n, m in masks.items())
    steps = sum(metric == "loss" for metric, _, _ in history)
    assert steps == {"bilevel": 2, "hydra": 6, "imp": 6 * 4}[method]
    for more in ({"gradual_steps": 2}, {"min_keep_share": 0.1}):
        with pytest.raises(InputError, match=f"{method}: takes no gradual_steps"):
            compress(method, model, blobs, **settings, **more)
