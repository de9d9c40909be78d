"""Sums of two numbers modulo a third, as tokens.

Nanda, Chan, Lieberum, Smith, Steinhardt, "Progress Measures for Grokking via Mechanistic Interpretability", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.errors import InputError
from winnow.randomness import torch_generator

Batch = tuple[Tensor, Tensor]


class ModularAddition:
    """Every pair of numbers below a modulus, a share of them for training; the sum is asked for at the last token."""

    def __init__(self, modulus: int, share: float, seed: int) -> None:
        count = modulus**2
        known = int(share * count)
        if not 0 < known < count:
            raise InputError(f"share: {share:g} of {count} pairs leaves a split empty; name one between 0 and 1")
        order = torch.randperm(count, generator=torch_generator(seed, "modular addition", "split"))
        self.modulus = modulus
        self._rows = {"train": order[:known].sort().values, "test": order[known:].sort().values}

    def arrays(self, split: str) -> Batch:
        """Tokens a, b, = int64[n, 3] and sums int64[n] of train, of test, or of all pairs, by a and then by b.

        Token `modulus` is the sign of equality. valid is test: nothing is chosen by it.
        """
        every = torch.arange(self.modulus**2)
        rows = every if split == "all" else self._rows["test" if split == "valid" else split]
        first, second = rows // self.modulus, rows % self.modulus
        tokens = torch.stack([first, second, torch.full_like(first, self.modulus)], dim=1)
        return tokens, (first + second) % self.modulus

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """All pairs of a split at once, whatever the size: training is by full batches."""
        yield self.arrays(split)

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of the sums in nats."""
        return cross_entropy(_of_sums(model, batch[0]), batch[1], label_smoothing=label_smoothing)

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """cross_entropy and accuracy of a split."""
        tokens, sums = self.arrays(split)
        logits = _of_sums(model, tokens).double()
        return {
            "cross_entropy": float(cross_entropy(logits, sums)),
            "accuracy": float((logits.argmax(1) == sums).double().mean()),
        }


def _of_sums(model: nn.Module, tokens: Tensor) -> Tensor:
    """Logits float[n, vocabulary] of the last token; a model that can runs no more than it needs."""
    run = getattr(model, "run", None)
    logits: Tensor = run(tokens, last=True)[0] if run else model(tokens)
    return logits[:, -1]
