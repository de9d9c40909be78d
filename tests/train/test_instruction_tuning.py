"""Packing read back pair by pair, rates beside torch's schedulers, and bits of responses by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from winnow.errors import InputError
from winnow.train.instruction_tuning import END, packed, response_bits, warmup_cosine_steps


def pairs_of(sizes):
    """Pairs of tokens that name the pair and, above 500, the response."""
    return [(np.full(a, 1 + i), np.full(b, 501 + i)) for i, (a, b) in enumerate(sizes)]


def read_back(windows, counted):
    """The pairs of each window, by its own tokens: (number, tokens of the prompt, of the response)."""
    found = []
    for window, marks in zip(windows, counted, strict=True):
        assert window[0] == END
        at = 0
        while at + 1 < len(window) and window[at + 1] != END:
            number = int(window[at + 1])
            prompt = int((window[at + 1 :] == number).argmin())
            response = int((window[at + 1 + prompt :] == number + 500).argmin())
            size = prompt + response + 1
            # What counts is the response and the end after it: as targets, one place earlier than as inputs.
            expected = [False] * prompt + [True] * (response + 1)
            assert marks[at : at + size].tolist() == expected
            assert at + size == len(window) - 1 or window[at + size] == END
            found.append((number, prompt, response))
            at += size
        assert not marks[at:].any() and (window[at:] == END).all()
    return found


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(13, 30),
    st.integers(0, 3),
)
def test_windows_hold_whole_pairs_of_which_responses_count(sizes, count, context, seed):
    windows, counted, passes = packed(pairs_of(sizes), count, context, seed)
    assert windows.shape == (count, context + 1) and windows.dtype == np.int64 and counted.shape == (count, context)
    found = read_back(windows, counted)
    assert all((a, b) == sizes[number - 1] for number, a, b in found)
    assert passes == pytest.approx(len(found) / len(sizes))
    for first in range(0, len(found) - len(sizes) + 1, len(sizes)):
        assert sorted(number for number, _, _ in found[first : first + len(sizes)]) == list(range(1, len(sizes) + 1))


def test_a_pair_that_fits_no_window_is_left_out_and_one_that_fills_it_is_not():
    windows, counted, _ = packed(pairs_of([(5, 5), (5, 4)]), 3, 10, 0)
    assert read_back(windows, counted) == [(2, 5, 4)] * 3
    with pytest.raises(InputError, match="pairs: none of 1 fits a window of 10 tokens; give shorter ones"):
        packed(pairs_of([(5, 5)]), 3, 10, 0)
    with pytest.raises(InputError, match="pairs"):
        packed(pairs_of([(1, 1)]), 0, 10, 0)


def test_orders_are_drawn_by_the_seed_and_anew_for_each_pass():
    pairs = pairs_of([(2, 2)] * 6)
    numbers = [[n for n, _, _ in read_back(*packed(pairs, 12, 5, seed)[:2])] for seed in (0, 0, 1)]
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[0][:6] != numbers[0][6:]


def test_the_rate_is_that_of_torchs_schedulers_in_a_row():
    steps, warmup, peak = 20, 5, 0.3
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1, total_iters=warmup - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warmup])
    rate = warmup_cosine_steps(peak, steps, warmup)
    for step in range(steps):
        assert rate(step) == pytest.approx(both.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        both.step()
    assert warmup_cosine_steps(peak, 1, 1)(0) == peak


class Table(nn.Module):
    """Scores of the next token that depend on the last alone."""

    def __init__(self, size):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(size, size, generator=torch.Generator().manual_seed(1)))

    def forward(self, x):
        return self.scores[x]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_bits_of_responses_are_sums_along_them_with_their_end(batch_size):
    model = Table(9)
    logs = model.scores.detach().double().log_softmax(1)
    pairs = [(np.array([3, 4]), np.array([5])), (np.array([2]), np.array([7, 8, 7, 1])), (np.array([6]), np.array([6]))]
    by_hand = []
    for prompt, response in pairs:
        line = [*prompt.tolist(), *response.tolist(), END]
        places = range(len(prompt) - 1, len(line) - 1)
        by_hand.append(-sum(float(logs[line[i], line[i + 1]]) for i in places) / math.log(2))
    assert response_bits(model.train(), pairs, batch_size) == pytest.approx(by_hand, rel=1e-5)
    assert not model.training
