"""Scores of an arm are scikit-learn's, and every arm trains both networks on what its name says."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from winnow.models import build
from winnow.train.transfer_arms import Budget, arm_scores, trained_arms

NAMES = ["sand", "rock", "wreck"]


def test_scores_are_those_of_scikit_learn_and_the_gain_is_over_the_plain_arm():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    predicted = np.where(generator.random(300) < 0.8, truth, generator.integers(0, 3, 300))
    plain = np.where(generator.random(300) < 0.4, truth, generator.integers(0, 3, 300))
    found = arm_scores(truth, predicted, plain, NAMES, seed=1)
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, labels=[0, 1, 2])
    for score, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert [found[f"{score}_{name}"] for name in NAMES] == pytest.approx(expected.tolist())
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    gain = f1_score(truth, predicted, average="macro") - f1_score(truth, plain, average="macro")
    assert found["gain"] == pytest.approx(gain) and 0 < found["gain_low"] < gain < found["gain_high"]
    same = arm_scores(truth, predicted, predicted, NAMES, seed=1)
    assert same["gain"] == same["gain_low"] == same["gain_high"] == 0


def test_every_draw_and_balance_is_an_arm_and_the_lower_blocks_stay():
    shape = {"in_channels": 1, "height": 32, "width": 32, "classes": 2}
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(20, 1, 32, 32, generator=generator), torch.arange(20) % 2
    budget = Budget(0.5, head_epochs=1, tuned_epochs=1, scratch_epochs=1, learning_rate=1e-2, batch_size=10, seed=0)

    def scratch():
        return build("mlp", seed=0, hidden=[4], **shape)

    def transfer():
        return build("transfer_net", seed=0, tuned=1, hidden=4, **shape)

    arms = list(trained_arms(scratch, transfer, x, y, budget))
    balances = ("none", "weights", "over", "under")
    assert [arm.name for arm in arms] == [
        f"{draw}-{balance}" for draw in ("random", "stratified") for balance in balances
    ]
    fresh, first = transfer().state_dict(), scratch().state_dict()
    for arm in arms:
        trained = arm.transfer.state_dict()
        assert all(torch.equal(trained[name], fresh[name]) for name in fresh if name.startswith("base."))
        assert any(not torch.equal(trained[name], fresh[name]) for name in fresh if name.startswith("dense."))
        assert any(not torch.equal(value, first[name]) for name, value in arm.scratch.state_dict().items())
        assert arm.history
