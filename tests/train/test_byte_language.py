"""Windows are stretches of the text, losses of each symbol but the first, and steps AdamW's of a rise and a fall."""

import numpy as np
import pytest
import torch

from tests.train.byte_models import Countdown
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.train.byte_language import (
    VOCABULARY,
    WARMUP,
    drawn_starts,
    joined_bytes,
    next_losses,
    train_steps,
    windows_at,
)

SYMBOLS = np.frombuffer(bytes(range(256)) * 4, np.uint8)


def test_texts_are_ended_by_zeros_in_utf8():
    assert joined_bytes(["a", "é"]).tolist() == [97, 0, 195, 169, 0]


def test_windows_are_stretches_of_the_text():
    starts = drawn_starts(SYMBOLS, 50, 1000, np.random.default_rng(0))
    assert starts.min() >= 0 and starts.max() <= 24 and len(set(starts.tolist())) > 10
    assert drawn_starts(SYMBOLS, 3, 1024, np.random.default_rng(0)).tolist() == [0, 0, 0]
    assert windows_at(SYMBOLS, np.array([3, 255]), 3).tolist() == [[3, 4, 5], [255, 0, 1]]
    with pytest.raises(InputError, match="has 1024 bytes, no window of 1025"):
        drawn_starts(SYMBOLS, 1, 1025, np.random.default_rng(0))


def test_losses_are_of_each_symbol_but_the_first():
    losses = next_losses(Countdown(), torch.tensor([[5, 6, 9]]))
    certain = float(torch.log(torch.tensor(255 + np.e**2)) - 2)
    assert losses.tolist() == [[pytest.approx(certain, abs=1e-6), pytest.approx(certain + 2, abs=1e-6)]]


def test_another_loss_joins_and_a_loss_that_is_not_finite_is_refused():
    options = {"steps": 2, "batch_size": 2, "length": 4, "seed": 0}
    model = Countdown()
    plain = train_steps(model, SYMBOLS, learning_rate=0.1, **options)
    assert model.scale.item() > 1.05 and plain[1][1] < plain[0][1]
    pulled = Countdown()
    train_steps(pulled, SYMBOLS, learning_rate=0.1, extra_loss=lambda: 100 * pulled.scale, **options)
    assert pulled.scale.item() < 0.95
    broken = Countdown()
    broken.scale.data.fill_(torch.nan)
    with pytest.raises(InputError, match="the loss is nan at step 1; lower the learning rate"):
        train_steps(broken, SYMBOLS, learning_rate=0.1, **options)


class Bigrams(torch.nn.Module):
    """Logits of the next symbol by the latest one."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(256, 256))
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return self.table[x]


def test_steps_are_those_of_adamw_written_out_on_windows_drawn_by_the_seed():
    model, told = Bigrams(), []
    settings = {"steps": 40, "batch_size": 3, "length": 5, "learning_rate": 0.02, "seed": 4}
    history = train_steps(model, SYMBOLS, **settings, report=lambda *done: told.append(done))
    assert told == [(step, 40) for step in range(1, 41)] and not model.training
    assert [(name, step) for name, _, step in history] == [("loss", step) for step in range(1, 41)]
    generator = numpy_generator(4, "byte language", "windows")
    table = torch.zeros(256, 256, dtype=torch.float64)
    first, second = torch.zeros_like(table), torch.zeros_like(table)
    for step in range(1, 41):
        starts = generator.integers(0, len(SYMBOLS) - 5, 3)
        windows = torch.stack([torch.from_numpy(SYMBOLS[s : s + 6].astype(np.int64)) for s in starts])
        assert torch.equal(model.seen[step - 1], windows[:, :-1])
        leaf = table.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf[windows[:, :-1]].flatten(0, 1), windows[:, 1:].flatten())
        (slope,) = torch.autograd.grad(loss, leaf)
        assert history[step - 1][1] == pytest.approx(float(loss.detach()), rel=1e-4)
        done = step / 41
        share = done / 0.05 if done < 0.05 else (1 + np.cos(np.pi * (done - 0.05) / 0.95)) / 2
        rate = 0.02 * share
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        moved = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        table = table * (1 - 0.01 * rate) - rate * moved
    # Adam's first moves are of one size whatever the slope, so that rounding of tiny slopes shows.
    torch.testing.assert_close(model.table.detach().double(), table, atol=2e-4, rtol=0)


def test_equal_seeds_see_equal_windows_whatever_the_model():
    options = {"steps": 3, "batch_size": 2, "length": 4, "learning_rate": 1e-3}
    one, other, third = Bigrams(), Countdown(), Bigrams()
    train_steps(one, SYMBOLS, seed=1, **options)
    train_steps(other, SYMBOLS, seed=1, **options)
    train_steps(third, SYMBOLS, seed=2, **options)
    assert all(torch.equal(a, b) for a, b in zip(one.seen, other.seen, strict=True))
    assert not torch.equal(one.seen[0], third.seen[0]) and one.seen[0].shape == (2, 4)


def test_there_are_as_many_symbols_as_bytes():
    assert VOCABULARY == 256 and WARMUP == 0.05
