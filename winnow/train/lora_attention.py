"""Attention of a language model whose gradients by scores are those of a polynomial in place of exp, or whose scores
are capped: what bounded entries are worth in fine-tuning.

Gradients: Hu, Su, Kuo, Song and Liu, see `winnow.train.lora_limits`. Caps: Bello et al., "Neural Combinatorial
Optimization with Reinforcement Learning", ICLR 2017 workshop; Gemma Team, "Gemma 2", 2024.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.rotary import rotated
from winnow.models.transformer import Attention, Block, Transformer

SMALLEST = 1e-12


def causal_weights(scores: Tensor) -> Tensor:
    """The softmax of scores float[..., t, t] over the keys up to each query."""
    return scores.masked_fill(_ahead(scores), -torch.inf).softmax(-1)


def polynomial_weights(scores: Tensor, degree: int) -> Tensor:
    """The same with exp replaced by its Taylor polynomial of an even degree, which is above 0 everywhere."""
    terms = torch.ones_like(scores)
    for power in range(degree, 0, -1):
        terms = 1 + terms * scores / power  # Horner's rule
    terms = terms.masked_fill(_ahead(scores), 0.0)
    return terms / terms.sum(-1, keepdim=True).clamp(min=SMALLEST)


def _ahead(scores: Tensor) -> Tensor:
    return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)


class PolynomialGradient(torch.autograd.Function):
    """Causal attention float[n, heads, t, d], exact forward; backward, some heads have the polynomial's weights.

    The gradients are those of the almost linear algorithm, whose weights are that polynomial's. A mask does not factor,
    so here they are put together from all pairs of tokens: equal numbers, not equal work.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, fast: Tensor, degree: int) -> Tensor:
        ctx.save_for_backward(query, key, value, fast)
        ctx.degree = degree
        return causal_weights(query @ key.mT / math.sqrt(query.shape[-1])) @ value

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (by_output,), (query, key, value, fast) = upstream, ctx.saved_tensors
        scale = 1 / math.sqrt(query.shape[-1])
        scores = scale * query @ key.mT
        chosen = fast[:, None, None]
        weights = torch.where(chosen, polynomial_weights(scores, ctx.degree), causal_weights(scores))  # f
        by_weight = by_output @ value.mT  # q, up to what is missed
        product = weights * by_weight
        by_score = product - product.sum(-1, keepdim=True) * weights  # p = p1 - p2
        return scale * by_score @ key, scale * by_score.mT @ query, weights.mT @ by_output, None, None


class BoundedAttention(nn.Module):
    """The attention of a `Transformer`, with the same weights: some heads with fast gradients, or all scores capped.

    fast: bool[heads]. degree: even. cap: scores are cap * tanh(score / cap), None leaves them. Raises InputError for an
    odd degree, which is below 0 somewhere, for a cap that is not above 0, and for fast heads with capped scores.
    """

    def __init__(self, before: Attention, fast: Tensor, degree: int = 2, cap: float | None = None) -> None:
        super().__init__()
        if degree < 0 or degree % 2:
            raise InputError(f"degree: is {degree}; give an even one, 0 or more")
        if cap is not None and not cap > 0:
            raise InputError(f"cap: is {cap}; give a number above 0")
        if cap is not None and bool(fast.any()):
            raise InputError(f"cap: is {cap} where heads have fast gradients; cap scores or hasten gradients, not both")
        self.heads, self.degree, self.cap = before.heads, degree, cap
        self.query, self.key, self.value, self.output = before.query, before.key, before.value, before.output
        self.register_buffer("fast", fast, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        places = torch.arange(x.shape[1])
        query, key = rotated(query, places), rotated(key, places)
        if self.cap is None:
            mixed = PolynomialGradient.apply(query, key, value, self.fast, self.degree)
        else:
            scores = query @ key.mT / math.sqrt(query.shape[-1])
            mixed = causal_weights(self.cap * (scores / self.cap).tanh()) @ value
        found: Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return found


def with_bounded_attention(
    model: Transformer, fast: list[list[bool]], degree: int = 2, cap: float | None = None
) -> Transformer:
    """Put it into each block, in place; fast: of each layer and head, whether its gradients are fast. Returns it."""
    for block, heads in zip(model.blocks, fast, strict=True):
        assert isinstance(block, Block)
        block.attention = BoundedAttention(block.attention, torch.tensor(heads), degree, cap)  # type: ignore[assignment]
    return model


@torch.no_grad()
def clamped_gains(model: Transformer, most: float) -> Transformer:
    """Bring the gains of the norms before attention down to at most `most` in magnitude, in place; returns it."""
    for block in model.blocks:
        assert isinstance(block, Block)
        block.attention_norm.weight.clamp_(-most, most)
    return model


@torch.no_grad()
def largest_score(model: Transformer, x: Tensor, cap: float | None = None) -> float:
    """The largest score of any head of tokens int64[n, t], in magnitude, causal pairs alone."""
    found, stream, places = 0.0, model.embedding(x), torch.arange(x.shape[1])
    for block in model.blocks:
        assert isinstance(block, Block)
        attention, normed = block.attention, block.attention_norm(stream)
        query, key = (
            rotated(part(normed).unflatten(-1, (attention.heads, -1)).transpose(1, 2), places)
            for part in (attention.query, attention.key)
        )
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        scores = scores if cap is None else cap * (scores / cap).tanh()
        found = max(found, float(scores.tril().abs().max()))
        stream = block(stream)
    return found
