"""Small language models of bytes: texts laid end to end, and training for a number of steps on windows drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.train.adamw import warmup_cosine

VOCABULARY = 256
WARMUP = 0.05
Report = Callable[[int, int], None]


def joined_bytes(texts: Iterable[str]) -> np.ndarray:
    """uint8[n]: the texts in UTF-8, each ended by a zero."""
    return np.frombuffer(b"".join(text.encode() + b"\0" for text in texts), np.uint8)


def windows_at(symbols: np.ndarray, starts: np.ndarray, length: int) -> Tensor:
    """int64[n, length] that begin at the starts."""
    return torch.from_numpy(symbols[starts[:, None] + np.arange(length)].astype(np.int64))


def drawn_starts(symbols: np.ndarray, count: int, length: int, generator: np.random.Generator) -> np.ndarray:
    """int64[count]: places, drawn with repeats, from which `length` symbols follow; InputError for too short a text."""
    if len(symbols) < length:
        raise InputError(f"text: has {len(symbols)} bytes, no window of {length}; give more text or shorter windows")
    return generator.integers(0, len(symbols) - length + 1, count)


def next_losses(model: nn.Module, windows: Tensor) -> Tensor:
    """float[n, t - 1]: cross-entropy of each symbol but the first, in nats, given those before it."""
    logits, following = model(windows[:, :-1]), windows[:, 1:]
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")
    return losses.view(following.shape)


def train_steps(
    model: nn.Module,
    symbols: np.ndarray,
    *,
    steps: int,
    batch_size: int,
    length: int,
    learning_rate: float,
    seed: int,
    extra_loss: Callable[[], Tensor] | None = None,
    report: Report | None = None,
) -> list[tuple[str, float, int]]:
    """Train in place with AdamW, a rise of 5 % and half a cosine; returns rows (loss [nats], value, step).

    symbols: uint8[n]. length: symbols that are foretold in a window. extra_loss is added to each step's loss. Equal
    seeds see equal windows, whatever the model. Raises InputError for a text that is too short and a loss that is
    not finite.
    """
    generator, multiplier = numpy_generator(seed, "byte language", "windows"), warmup_cosine(WARMUP)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, fused=True)
    history = []
    model.train()
    for step in range(steps):
        windows = windows_at(symbols, drawn_starts(symbols, batch_size, length + 1, generator), length + 1)
        for group in optimizer.param_groups:
            # Counted from 1, so that no step stands still.
            group["lr"] = learning_rate * multiplier((step + 1) / (steps + 1))
        loss = next_losses(model, windows).mean()
        if not torch.isfinite(loss):
            raise InputError(f"train: the loss is {loss.item()} at step {step + 1}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        (loss + extra_loss() if extra_loss else loss).backward()
        optimizer.step()
        history.append(("loss", loss.item(), step + 1))
        if report:
            report(step + 1, steps)
    model.eval()
    return history
