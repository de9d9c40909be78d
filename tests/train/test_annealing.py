"""Rates in closed form, windows that are runs of their source in the shares asked for, and losses beside torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.train.annealing import masked_loss, mixed_windows, optimizer_of, train_on, warmup_stable_decay

SOURCES = {"a": np.arange(0, 1000), "b": np.arange(1000, 1100), "c": np.arange(2000, 2500)}


def test_the_rate_rises_stays_and_falls_by_a_constant_factor():
    rate = warmup_stable_decay(0.1, 0.4, 1 / 100)
    assert [rate(share) for share in (0, 0.05, 0.1, 0.35, 0.6)] == pytest.approx([0, 0.5, 1, 1, 1])
    assert [rate(share) for share in (0.7, 0.8, 0.9, 1.0)] == pytest.approx([10**-0.5, 10**-1.0, 10**-1.5, 10**-2.0])
    assert [warmup_stable_decay(0, 0, 0.1)(share) for share in (0, 0.5, 1)] == [1, 1, 1]
    assert warmup_stable_decay(0.5, 0.5, 1)(0.75) == 1


@pytest.mark.parametrize("wrong", [(-0.1, 0.1, 0.5), (0.1, -0.1, 0.5), (0.6, 0.5, 0.5), (0, 0.5, 0), (0, 0.5, 1.1)])
def test_rates_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match="give shares of 1 in all and a floor above 0"):
        warmup_stable_decay(*wrong)


@given(st.integers(1, 60), st.integers(2, 30), st.integers(0, 5), st.sampled_from([(0.5, 0.3, 0.2), (1.0, 0.0, 0.0)]))
def test_windows_are_runs_of_their_sources_in_the_shares_asked_for(count, context, seed, parts):
    shares = dict(zip("abc", parts, strict=True))
    windows, passes = mixed_windows(SOURCES, shares, count, context, seed)
    assert windows.shape == (count, context + 1) and windows.dtype == np.int64
    assert (np.diff(windows, axis=1) == 1).all()  # tokens of a source are consecutive numbers
    found = {name: int(np.isin(windows[:, 0], tokens).sum()) for name, tokens in SOURCES.items()}
    assert sum(found.values()) == count
    for name, share in shares.items():
        assert abs(found[name] - share * count) < 1
        assert passes[name] == pytest.approx(found[name] * context / len(SOURCES[name]))
    again, _ = mixed_windows(SOURCES, shares, count, context, seed)
    assert np.array_equal(windows, again)


def test_within_a_pass_no_token_is_foreseen_twice_and_passes_begin_elsewhere():
    windows, passes = mixed_windows({"a": SOURCES["a"]}, {"a": 1.0}, 90, 10, 0)
    foreseen = np.sort(windows[:, 1:].flatten())
    assert passes == {"a": 0.9} and len(np.unique(foreseen)) == 900
    starts = {int(mixed_windows({"a": SOURCES["a"]}, {"a": 1.0}, 90, 10, seed)[0].min() % 10) for seed in range(20)}
    assert len(starts) > 5
    orders = [mixed_windows({"a": SOURCES["a"]}, {"a": 1.0}, 90, 10, seed)[0][:, 0].tolist() for seed in range(2)]
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])


def test_shares_that_do_not_add_up_and_short_sources_are_refused():
    for shares, count in (({"a": 0.5}, 4), ({"a": 1.5, "b": -0.5}, 4), ({"a": 1.0}, 0)):
        with pytest.raises(InputError, match="give shares from 0 on that add up to 1"):
            mixed_windows(SOURCES, shares, count, 8, 0)
    with pytest.raises(InputError, match="b: has 100 tokens, no window of 100; give it more"):
        mixed_windows(SOURCES, {"b": 1.0}, 2, 100, 0)
    assert mixed_windows(SOURCES, {"b": 1.0}, 2, 99, 0)[0][:, 0].tolist() == [1000, 1000]


def test_the_optimizer_decays_matrices_alone():
    model = build("transformer", seed=0, vocabulary=20, width=8, layers=1, heads=2)
    optimizer = optimizer_of(model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        name: 0.0 if "norm" in name else 0.1 for name, _ in model.named_parameters()
    }
    assert all(group["betas"] == (0.9, 0.95) and group["eps"] == 1e-8 for group in optimizer.param_groups)


class Table(nn.Module):
    """Scores of the next token that depend on the last alone."""

    def __init__(self, size=5):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(size, size, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return self.scores[x]


def test_the_loss_is_the_mean_of_what_counts():
    model, windows = Table(), torch.tensor([[0, 1, 2], [4, 3, 1]])
    logs = model.scores.detach().double().log_softmax(1)
    by_hand = -np.array([[float(logs[0, 1]), float(logs[1, 2])], [float(logs[4, 3]), float(logs[3, 1])]])
    logits = model(windows[:, :-1])
    assert float(masked_loss(logits, windows[:, 1:], None)) == pytest.approx(by_hand.mean(), rel=1e-6)
    counted = torch.tensor([[False, True], [True, False]])
    expected = (by_hand[0, 1] + by_hand[1, 0]) / 2
    assert float(masked_loss(logits, windows[:, 1:], counted)) == pytest.approx(expected, rel=1e-6)


def test_a_step_is_gradient_descent_on_what_counts_with_a_clipped_gradient():
    model, windows = Table(), np.array([[0, 1], [4, 3], [2, 2]])
    counted, rates, told = np.array([[True], [False], [True]]), [], []
    before = model.scores.detach().clone()

    def rate(step):
        rates.append(step)
        return [10.0, 0.0][step]

    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    losses = train_on(model, optimizer, windows, rate, 2, counted, lambda done, total: told.append((done, total)))
    # The first step sees rows 0 and 1, of which row 0 counts; the second has a rate of 0.
    gradient = torch.zeros(5, 5)
    gradient[0] = before[0].softmax(0) - torch.eye(5)[1]
    gradient /= max(1.0, float(gradient.norm()))
    assert torch.allclose(model.scores.detach(), before - 10 * gradient, atol=1e-5)
    assert losses[0] == pytest.approx(-float(before[0].log_softmax(0)[1]), rel=1e-5)
    assert losses[1] == pytest.approx(-float(before[2].log_softmax(0)[2]), rel=1e-5)
    assert rates == [0, 1] and told == [(1, 2), (2, 2)] and not model.training


def test_large_gradients_are_clipped_to_a_norm_of_one():
    model = Table()
    with torch.no_grad():
        model.scores.mul_(0).add_(1000 * torch.eye(5)[[1, 0, 2, 3, 4]])  # sure, and wrong of the first two
    before = model.scores.detach().clone()
    windows = np.array([[0, 2], [0, 2]])
    train_on(model, torch.optim.SGD(model.parameters(), lr=1), windows, lambda step: 1.0, 2)
    moved = model.scores.detach() - before
    assert float(moved.norm()) == pytest.approx(1.0, rel=1e-4)


def test_a_loss_that_is_no_number_ends_in_one_line():
    model = Table()
    with torch.no_grad():
        model.scores[0] = float("nan")
    with pytest.raises(InputError, match="train: the loss is nan at step 1; lower the learning rate"):
        train_on(model, torch.optim.SGD(model.parameters(), lr=1), np.array([[0, 1]]), lambda step: 1.0, 1)
