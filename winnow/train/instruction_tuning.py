"""Tuning on instructions: pairs of a prompt and a response, packed into windows, of which responses alone count.

Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", ACL 2025: first broad questions,
then tasks of code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from winnow.errors import InputError
from winnow.randomness import numpy_generator

Pair = tuple[np.ndarray, np.ndarray]
"""Tokens of a prompt and of its response, int64."""
END = 0
"""The token that ends a response, and stands before a prompt."""


def packed(pairs: Sequence[Pair], count: int, context: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Windows int64[count, context + 1] of whole pairs, the tokens bool[count, context] that count, and the passes.

    Pairs are taken in an order drawn anew for each pass; the next that does not fit begins a window, and what is left
    of one is filled with the end token and does not count. A pair longer than a window is left out. Raises InputError
    where none fits.
    """
    fitting = [pair for pair in pairs if len(pair[0]) + len(pair[1]) + 1 <= context]
    if not fitting or count < 1:
        raise InputError(f"pairs: none of {len(pairs)} fits a window of {context} tokens; give shorter ones")
    generator = numpy_generator(seed, "packed")
    windows, counted = np.full((count, context + 1), END), np.zeros((count, context), bool)
    order: list[int] = []
    taken = row = at = 0
    while True:
        order = order or generator.permutation(len(fitting)).tolist()
        prompt, response = fitting[order[-1]]
        size = len(prompt) + len(response) + 1
        if at + size > context:
            row, at = row + 1, 0
        if row == count:
            return windows.astype(np.int64), counted, taken / len(fitting)
        order.pop()
        # Position 0 of a window is an end token; so is the one after each response.
        windows[row, at + 1 : at + size] = np.concatenate([prompt, response])
        counted[row, at + len(prompt) : at + size] = True
        taken, at = taken + 1, at + size


def warmup_cosine_steps(peak: float, steps: int, warmup: int) -> Callable[[int], float]:
    """The learning rate of a step, from 0 on: a rise over `warmup` steps, then half a cosine."""

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        return peak * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2

    return rate


@torch.no_grad()
def response_bits(model: nn.Module, pairs: Sequence[Pair], batch_size: int = 16) -> np.ndarray:
    """Bits float64[pairs] of each response and its end, given the prompt."""
    model.eval()
    order = np.argsort([len(prompt) + len(response) for prompt, response in pairs], kind="stable")
    found = np.zeros(len(pairs))
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        sizes = [len(pairs[i][0]) + len(pairs[i][1]) + 1 for i in rows]
        x, y = (np.full((len(rows), max(sizes)), END) for _ in range(2))
        for row, (i, size) in enumerate(zip(rows, sizes, strict=True)):
            x[row, 1:size] = y[row, : size - 1] = np.concatenate(pairs[i])
        logits, following = model(torch.from_numpy(x)), torch.from_numpy(y)
        losses = cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none").double().view(y.shape)
        for row, (i, size) in enumerate(zip(rows, sizes, strict=True)):
            found[i] = float(losses[row, len(pairs[i][0]) : size].sum()) / math.log(2)
    return found
