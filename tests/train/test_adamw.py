"""The training baseline against torch's own optimiser and the schedule's closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.models.experts import MoEX
from winnow.train.adamw import fit_adamw, is_decayed, warmup_cosine

SETTINGS = {
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.05,
    "weight_decay": 0.3,
    "warmup": 0.25,
    "label_smoothing": 0.0,
}


class Points:
    """Two batches of points in two classes, in one order."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(16, 3, generator=generator)
        self.y = (self.x[:, 0] > 0).long()

    def batches(self, split, size, seed=None, epoch=0):
        yield from zip(self.x.split(size), self.y.split(size), strict=True)

    def loss(self, model, batch, label_smoothing=0.0):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=label_smoothing)

    def metrics(self, model, split):
        return {"accuracy": float((model(self.x).argmax(1) == self.y).float().mean())}


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_the_schedule_rises_linearly_and_falls_as_half_a_cosine():
    multiplier = warmup_cosine(0.2)
    assert [multiplier(done) for done in (0.0, 0.1, 0.2)] == [0.0, 0.5, 1.0]
    assert multiplier(0.6) == pytest.approx(0.5)
    assert multiplier(0.4) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert multiplier(1.0) == pytest.approx(0.0)


def test_without_warmup_the_first_step_has_the_full_rate():
    assert warmup_cosine(0.0)(0.0) == 1.0


@given(st.floats(0, 0.9), st.floats(0, 1))
def test_the_multiplier_stays_between_nothing_and_the_peak(warmup, done):
    assert 0 <= warmup_cosine(warmup)(done) <= 1


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 2.0])
def test_a_warmup_outside_the_run_is_refused(warmup):
    with pytest.raises(InputError, match=f"warmup is {warmup}; it must be at least 0 and below 1"):
        warmup_cosine(warmup)


def test_training_takes_the_steps_of_torchs_adamw_and_decays_weights_but_no_biases():
    ours, theirs, points = model(), model(), Points()
    fit_adamw(ours, points, seed=0, **SETTINGS)
    weights = [p for p in theirs.parameters() if p.ndim == 2]
    biases = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    for step in range(4):
        done = step / 4
        rate = done / 0.25 if done < 0.25 else (1 + math.cos(math.pi * (done - 0.25) / 0.75)) / 2
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * rate
        batch = list(points.batches("train", 8))[step % 2]
        optimizer.zero_grad()
        points.loss(theirs, batch).backward()
        optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


NETS = {
    "small_cnn": {"in_channels": 1, "height": 8, "width": 8, "classes": 2},
    "fastgrnn": {"in_channels": 1, "height": 8, "width": 8, "classes": 2},
    "gru4rec": {"items": 5},
    "transformer": {"vocabulary": 9},
    "hooked_transformer": {"vocabulary": 9, "context": 6},
    "positional_transformer": {"vocabulary": 9, "position": "geometric", "learned": True},
    "moe_x_transformer": {"vocabulary": 9, "router": "learned"},
}
MATRICES = (nn.Linear, nn.Conv2d, nn.Embedding)


@pytest.mark.parametrize("name", NETS)
def test_what_is_decayed_are_weights_of_layers_and_of_experts(name):
    net = build(name, seed=0, **NETS[name])
    expected = {f"{part}.weight" for part, module in net.named_modules() if isinstance(module, MATRICES)}
    for part, module in net.named_modules():
        if isinstance(module, nn.GRU):
            expected |= {f"{part}.{own}" for own, _ in module.named_parameters() if own.startswith("weight")}
        if isinstance(module, MoEX):
            expected |= {f"{part}.encoder", f"{part}.decoder"}
    decayed = {key for key, parameter in net.named_parameters() if is_decayed(key, parameter)}
    assert decayed == expected & {key for key, _ in net.named_parameters()}
    free = {key.rsplit(".", 1)[-1] for key, parameter in net.named_parameters() if parameter.ndim > 1} - {"weight"}
    told = {"positional_transformer": {"raw"}, "moe_x_transformer": {"bias", "encoder", "decoder"}}
    assert name not in told or free == told[name]  # what axes alone would not tell


def test_the_history_has_a_loss_for_each_step_and_progress_is_told():
    told = []
    history = fit_adamw(model(), Points(), seed=0, progress=lambda step, total: told.append((step, total)), **SETTINGS)
    assert [step for metric, _, step in history if metric == "loss"] == [1, 2, 3, 4]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
