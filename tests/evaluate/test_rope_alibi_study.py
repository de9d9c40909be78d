"""The same bytes are foretold at each length, arms start alike, and charts draw what is told."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.train.byte_models import Countdown
from winnow.evaluate.rope_alibi_study import (
    Arm,
    arms,
    by_window,
    chosen_strengths,
    copying,
    learned_strengths,
    losses_at_lengths,
    paired,
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


def test_stretches_need_not_divide_a_window():
    losses = np.array([[1.0, 3.0, 5.0, 6.0, 9.0]])
    assert profile(losses, bins=2) == [{"position": 1.5, "value": 3.0}, {"position": 4.0, "value": 7.5}]
    assert [row["position"] for row in profile(losses, bins=16)] == [0.5, 1.5, 2.5, 3.5, 4.5]


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
    assert different[0][1] == pytest.approx(history[0][1], abs=0.02) and different != history


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


def test_the_strength_that_is_chosen_loses_least_and_is_not_learned():
    losses = {
        Arm("geometric"): 2.0,
        Arm("geometric", 0.25): 1.5,
        Arm("geometric", learned=True): 1.0,
        Arm("additive_harmonic"): 1.0,
    }
    assert chosen_strengths(losses) == {
        "additive_harmonic": Arm("additive_harmonic"),
        "geometric": Arm("geometric", 0.25),
    }
    assert chosen_strengths({}) == {}


def test_losses_are_compared_window_by_window():
    rope, other = np.array([1.0, 5.0, 9.0]), np.array([1.5, 5.0, 9.1])
    losses = {Arm("rope"): {8: rope}, Arm("geometric"): {8: other}, Arm("geometric", 4.0): {8: other}}
    found = list(paired(losses, 0))
    assert [(arm, length) for arm, length, _ in found] == [(arm, 8) for arm in losses]
    assert set(found[0][2]) == {f"over_geometric{end}" for end in ("", "_low", "_high")}
    values = found[1][2]
    assert set(values) == {f"over_rope{end}" for end in ("", "_low", "_high")}
    # All 27 resamples of differences .5, 0 and .1, in order; a tail of .025 holds none of them.
    means = sorted(sum(some) / 3 for some in product((0.5, 0.0, 0.1), repeat=3))
    assert [values[f"over_rope{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.2, means[0], means[-1]])
    assert found[2][2] == values
    assert list(paired({Arm("alibi", 0.5): {8: rope}}, 0)) == []
    rows = by_window(losses, 7)
    assert len(rows) == 9 and rows[5] == {"arm": "geometric", "seed": 7, "length": 8, "window": 2, "loss": 9.1}
    assert rows[6]["arm"] == "geometric, strength 4"
