import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.workloads.modular_addition import ModularAddition


class Table(nn.Module):
    """Logits told for each pair and token."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, tokens):
        last = self.logits[tokens[:, 0], tokens[:, 1]]
        return torch.stack([torch.zeros_like(last), torch.zeros_like(last), last], dim=1)


def test_every_pair_is_in_one_split_and_its_sum_is_asked_for():
    data = ModularAddition(5, 0.7, 0)
    tokens, sums = data.arrays("all")
    assert tokens.tolist() == [[a, b, 5] for a in range(5) for b in range(5)]
    assert sums.tolist() == [(a + b) % 5 for a in range(5) for b in range(5)]
    split = {name: {tuple(row) for row in data.arrays(name)[0].tolist()} for name in ("train", "test")}
    assert len(split["train"]) == 17 and not split["train"] & split["test"]
    assert split["train"] | split["test"] == {tuple(row) for row in tokens.tolist()}
    for name in ("train", "test"):
        rows, told = data.arrays(name)
        assert ((rows[:, 0] + rows[:, 1]) % 5).equal(told)
    assert all(a.equal(b) for a, b in zip(data.arrays("valid"), data.arrays("test"), strict=True))


def test_seeds_split_otherwise():
    rows = [ModularAddition(7, 0.5, seed).arrays("train")[0] for seed in (0, 0, 1)]
    assert rows[0].equal(rows[1]) and not rows[0].equal(rows[2])


@pytest.mark.parametrize("share", [0.0, 1.0, 0.01])
def test_a_share_that_leaves_a_split_empty_is_refused(share):
    with pytest.raises(InputError, match=f"share: {share:g} of 25 pairs leaves a split empty"):
        ModularAddition(5, share, 0)


def test_batches_are_whole_splits():
    data = ModularAddition(5, 0.7, 0)
    (tokens, sums), *rest = data.batches("train", 2, 3, 1)
    assert not rest and tokens.equal(data.arrays("train")[0]) and sums.equal(data.arrays("train")[1])


def test_loss_and_metrics_are_those_of_the_last_token():
    data = ModularAddition(3, 0.5, 0)
    logits = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(0))
    model, (tokens, sums) = Table(logits), data.arrays("test")
    nats = -logits[tokens[:, 0], tokens[:, 1]].log_softmax(1)[torch.arange(len(sums)), sums]
    found = data.metrics(model, "test")
    assert found["cross_entropy"] == pytest.approx(float(nats.mean()), rel=1e-6)
    right = logits[tokens[:, 0], tokens[:, 1]].argmax(1) == sums
    assert found["accuracy"] == pytest.approx(float(right.double().mean()))
    assert float(data.loss(model, (tokens, sums))) == pytest.approx(float(nats.mean()), rel=1e-6)
    smooth = -logits[tokens[:, 0], tokens[:, 1]].log_softmax(1).mean()
    assert float(data.loss(model, (tokens, sums), 1.0)) == pytest.approx(float(smooth), rel=1e-6)
