"""Cross-entropy over a whole catalogue of states against items' embeddings, a few places at a time.

The scores of all places of a batch are tens of megabytes, which log_softmax and its gradient read and write several
times. A few places' scores stay in the cache, and once their probabilities are there, so are the gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PLACES = 128
"""Scored at a time: of 1,700 items these take less than a megabyte."""


class _NextItemLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        items, losses = weight[1:], []
        by_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        by_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for first in range(0, len(states), PLACES):
            rows = slice(first, first + PLACES)
            state, target = states[rows], targets[rows, None] - 1
            scores = state @ items.T
            shares = scores.softmax(1)
            # -log of the target's share, by way of the largest one, which cannot be 0.
            best = scores.amax(1, keepdim=True)
            wanted = scores.gather(1, target)
            if smoothing:
                wanted = (1 - smoothing) * wanted + smoothing * scores.mean(1, keepdim=True)
            losses.append((best - wanted - shares.amax(1, keepdim=True).log())[:, 0])
            shares.scatter_add_(1, target, shares.new_full(target.shape, smoothing - 1.0))
            if smoothing:
                shares -= smoothing / len(items)
            if by_states is not None:
                torch.mm(shares, items, out=by_states[rows])
            if by_weight is not None:
                by_weight[1:].addmm_(shares.T, state)
        ctx.save_for_backward(*(None if part is None else part / len(states) for part in (by_states, by_weight)))
        return torch.cat(losses).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        by_states, by_weight = ctx.saved_tensors
        return _scaled(by_states, outer), _scaled(by_weight, outer), None, None


def _scaled(summed: Tensor | None, outer: Tensor) -> Tensor | None:
    return None if summed is None else summed * outer


def next_item_loss(states: Tensor, weight: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy, in nats, of items 1 to I that follow m >= 1 places: cross_entropy of all scores at once.

    states: float[m, d]. weight: float[I + 1, d], a row for each item, and row 0, of padding, which has no score and no
    gradient. targets: int64[m], 1 to I. label_smoothing: share of the aim that all items have alike. Its gradient has
    none of its own.
    """
    return _NextItemLoss.apply(states, weight, targets, label_smoothing)
