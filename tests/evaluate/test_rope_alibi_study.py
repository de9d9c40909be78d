"""The same bytes are foretold at each length, arms start alike, and charts draw what is told."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.train.byte_models import Countdown
from winnow.evaluate.rope_alibi_study import (
    Arm,
    arms,
    chosen_strengths,
    copying,
    learned_strengths,
    losses_at_lengths,
    profile,
    trained,
)

SETTINGS = SimpleNamespace(
    width=16, layers=1, heads=2, seed=0, steps=3, batch_size=4, context=8, learning_rate=1e-3, copy_gap=1,
    copy_steps=60, copy_rate=2e-2,
)  # fmt: skip
SYMBOLS = np.frombuffer(bytes(range(256)) * 4, np.uint8)


def test_the_same_bytes_are_judged_at_each_length():
    model = Countdown()
    found = losses_at_lengths(model, SYMBOLS, [8, 32], windows=20, seed=1)
    short, long = torch.cat(model.seen[:2]), torch.cat(model.seen[2:])
    assert short.shape == (20, 8) and long.shape == (20, 32)
    assert torch.equal(long[:, -8:], short)
    assert found[8].shape == (20, 8) and found[32].shape == (20, 32)
    assert np.allclose(found[8], np.log(255 + np.e**8) - 8, atol=1e-5)
    assert np.allclose(found[32], 0, atol=1e-5)


def test_a_window_is_told_in_stretches():
    rows = profile(np.array([[1.0, 2.0, 3.0, 5.0], [2.0, 3.0, 7.0, 9.0]]), bins=2)
    assert rows == [{"position": 1.0, "value": 2.0}, {"position": 3.0, "value": 6.0}]


def test_training_is_repeatable_and_lowers_the_loss_and_arms_start_alike():
    steps = []
    model, history = trained(Arm("rope"), SYMBOLS, SETTINGS, lambda done, of: steps.append((done, of)))
    assert steps == [(1, 3), (2, 3), (3, 3)] and [row[2] for row in history] == [1, 2, 3]
    again, same = trained(Arm("rope"), SYMBOLS, SETTINGS, lambda done, of: None)
    assert history == same and not model.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    # Before the first step only positions differ, and fresh weights hardly attend.
    other, different = trained(Arm("alibi", 0.5), SYMBOLS, SETTINGS, lambda done, of: None)
    assert other.blocks[0].attention.mode == "alibi" and other.blocks[0].attention.strength == 0.5
    assert different[0][1] == pytest.approx(history[0][1], abs=1e-3) and different != history


def test_one_layer_learns_to_say_a_token_again():
    keen = SimpleNamespace(**vars(SETTINGS) | {"batch_size": 32, "copy_steps": 80})
    assert copying(Arm("rope"), keen, lambda done, of: None) > 0.5
    lazy = SimpleNamespace(**vars(SETTINGS) | {"copy_steps": 1})
    assert copying(Arm("rope"), lazy, lambda done, of: None) < 0.2


def test_a_second_strength_is_an_arm_of_its_own():
    strengths = {"geometric": [0.25, 4.0], "additive_harmonic": [1.0]}
    found = arms(["rope", "geometric"], strengths, ["additive_harmonic", "geometric"])
    assert found == [
        Arm("rope"), Arm("geometric"), Arm("geometric", 0.25), Arm("geometric", 4.0), Arm("geometric", learned=True),
    ]  # fmt: skip
    assert [arm.suffix for arm in found] == ["", "", ", strength 0.25", ", strength 4", ", learned"]
    assert arms(["rope"], {}) == [Arm("rope")]


def test_heads_learn_strengths_where_they_may():
    model, _ = trained(Arm("additive_harmonic", learned=True), SYMBOLS, SETTINGS, lambda done, of: None)
    rows = learned_strengths(model)
    assert [(row["layer"], row["head"]) for row in rows] == [(0, 0), (0, 1)]
    assert all(row["strength"] == pytest.approx(1, abs=0.05) and row["strength"] != 1 for row in rows)
    plain, _ = trained(Arm("additive_harmonic"), SYMBOLS, SETTINGS, lambda done, of: None)
    assert learned_strengths(plain) == []


def test_the_strength_that_is_chosen_is_the_best_at_the_trained_length():
    losses = {
        Arm("rope"): {8: 0.1, 16: 0.1},
        Arm("geometric"): {8: 2.0, 16: 1.0},
        Arm("geometric", 0.25): {8: 1.5, 16: 3.0},
        Arm("geometric", learned=True): {8: 1.0, 16: 0.5},
        Arm("additive_harmonic"): {8: 1.0, 16: 7.0},
    }
    assert chosen_strengths(losses, 8) == {
        "additive_harmonic": {8: 1.0, 16: 7.0},
        "geometric": {8: 1.5, 16: 3.0},
    }
    assert chosen_strengths({Arm("rope"): {8: 1.0}}, 8) == {}
