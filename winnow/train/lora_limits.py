"""Gradients of low-rank adapters of an attention head: exactly, and in nearly linear time where entries are bounded.

Hu, Su, Kuo, Song and Liu, "Computational Limits of Low-Rank Adaptation (LoRA) Fine-Tuning for Transformer Models",
ICLR 2025. Adapters: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from winnow.errors import InputError
from winnow.models.rotary import rotated
from winnow.models.transformer import Block, Transformer
from winnow.train.kronecker_attention import LARGEST_RANK, features, monomial_weights, polynomial

Adapter = tuple[Tensor, Tensor]
"""B float[d, r] and A float[r, d]: the weight gains alpha / r * B A."""
NAMES = ("query", "key", "value")


class Head(NamedTuple):
    """Inputs float[L, d], frozen weights float[d, d] that multiply them from the right, and targets float[L, d].

    The loss is half the squared distance of softmax(scale * Q K^T) V to the targets, over all entries.
    """

    inputs: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    target: Tensor


class Told(NamedTuple):
    """What the fast gradients rest on."""

    rank: int
    """Monomials, C(d + degree, degree)."""
    gamma: float
    """The largest entry of queries and keys, in magnitude."""
    relative: float
    """Bound of the error of one weight relative to exp: the Taylor remainder at the largest possible score."""
    negative: int
    """Queries whose weights do not sum to more than 0, so that dividing them by the sum gives no softmax."""


class _Parts(NamedTuple):
    query: Tensor
    key: Tensor
    value: Tensor


def lora_gradients_exact(
    head: Head, adapters: Mapping[str, Adapter], alpha: float, scale: float | None = None, chunk: int | None = None
) -> dict[str, Adapter]:
    """Gradients of the loss by (B, A) of each adapter, in O(L^2 d).

    adapters: of `query` and `value` (partial), or `key` too (full). scale None is 1 / sqrt(d). chunk: queries at a
    time, None all. Raises InputError for unknown names, shapes that do not fit and a rank above d.
    """
    parts, scale = _parts(head, adapters, alpha), _scale(head, scale)
    by_query, by_key, by_value = [], torch.zeros_like(parts.key), torch.zeros_like(parts.value)
    size = chunk or len(head.inputs)
    for query, target in zip(parts.query.split(size), head.target.split(size), strict=True):
        weights = (scale * query @ parts.key.T).softmax(1)  # f
        missed = weights @ parts.value - target  # c
        by_score = _by_score(weights, missed, parts.value)
        by_query.append(scale * (by_score @ parts.key))
        by_key = by_key + scale * (by_score.T @ query)
        by_value = by_value + weights.T @ missed
    return _of_adapters(head, adapters, alpha, _Parts(torch.cat(by_query), by_key, by_value))


def score_gradient(query: Tensor, key: Tensor, value: Tensor, target: Tensor, scale: float) -> Tensor:
    """float[L, L]: the loss by each score, p = f * q - diag((f * q) 1) f; its rows sum to 0."""
    weights = (scale * query @ key.T).softmax(1)
    return _by_score(weights, weights @ value - target, value)


def _by_score(weights: Tensor, missed: Tensor, value: Tensor) -> Tensor:
    product = weights * (missed @ value.T)
    return product - product.sum(1, keepdim=True) * weights


def lora_gradients_polynomial(
    head: Head,
    adapters: Mapping[str, Adapter],
    alpha: float,
    degree: int,
    scale: float | None = None,
    limit: float | None = None,
) -> tuple[dict[str, Adapter], Told]:
    """The same in O(L rank d^2), with exp replaced by its Taylor polynomial; no matrix of L x L is formed.

    limit: the largest entry of queries and keys that is accepted. Masks are not supported, they do not factor. Raises
    InputError besides for a larger entry, a degree below 0 and a rank above 50,000.
    """
    parts, scale = _parts(head, adapters, alpha), _scale(head, scale)
    size = head.inputs.shape[1]
    rank = math.comb(size + degree, max(degree, 0))
    if degree < 0 or rank > LARGEST_RANK:
        raise InputError(f"degree: is {degree}, rank {rank} at {size} dimensions; give 0 to a rank of {LARGEST_RANK}")
    tops = [float(part.detach().abs().max()) for part in (parts.query, parts.key)]
    if limit is not None and max(tops) > limit:
        raise InputError(f"limit: queries and keys reach {max(tops):.4g}, above {limit}; normalise them, or go exact")
    series = polynomial(degree, 1.0, "taylor")
    left = features(parts.query, degree) * monomial_weights(series, size, scale).to(parts.query.dtype)
    right = features(parts.key, degree)
    sums = left @ right.sum(0)
    left = left / sums[:, None]  # f ~ left right^T
    mixed = left @ (right.T @ parts.value)
    missed = mixed - head.target  # c
    share = (missed * mixed).sum(1, keepdim=True)  # rho = (f * q) 1, as q = c value^T
    by_query = -share * (left @ (right.T @ parts.key))
    by_key = -right @ (left.T @ (share * parts.query))
    # f * q is a sum over the columns of c and value: each a scaling of rows left and right, never an L x L.
    for each, worth in zip(missed.T[..., None], parts.value.T[..., None], strict=True):
        by_query = by_query + each * (left @ (right.T @ (worth * parts.key)))
        by_key = by_key + worth * (right @ (left.T @ (each * parts.query)))
    found = _Parts(scale * by_query, scale * by_key, right @ (left.T @ missed))
    score = abs(scale) * size * math.prod(tops)
    remainder = score ** (degree + 1) / math.factorial(degree + 1) * math.exp(min(2 * score, 700))
    told = Told(rank, max(tops), remainder, int((~(sums > 0)).sum()))
    return _of_adapters(head, adapters, alpha, found), told


def _parts(head: Head, adapters: Mapping[str, Adapter], alpha: float) -> _Parts:
    size = head.inputs.shape[1]
    for name, (b, a) in adapters.items():
        if name not in NAMES:
            raise InputError(f"adapters: unknown name {name!r}; use {', '.join(NAMES)}")
        if b.shape != (size, a.shape[0]) or a.shape[1] != size or a.shape[0] > size:
            shapes = f"{tuple(b.shape)} and {tuple(a.shape)}"
            raise InputError(f"adapters: {name} has {shapes}; give ({size}, r) and (r, {size}) with r up to {size}")
    moved = {n: getattr(head, n) for n in NAMES}
    moved |= {name: moved[name] + alpha / a.shape[0] * b @ a for name, (b, a) in adapters.items()}
    return _Parts(**{name: head.inputs @ weight for name, weight in moved.items()})


def _of_adapters(head: Head, adapters: Mapping[str, Adapter], alpha: float, found: _Parts) -> dict[str, Adapter]:
    gradients = {}
    for name, (b, a) in adapters.items():
        by_weight = alpha / a.shape[0] * head.inputs.T @ getattr(found, name)
        gradients[name] = (by_weight @ a.T, b.T @ by_weight)
    return gradients


def _scale(head: Head, scale: float | None) -> float:
    return float(head.inputs.shape[1]) ** -0.5 if scale is None else scale


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained adapter: A is drawn as by He et al. (2015), B starts at 0."""

    def __init__(self, base: nn.Linear, rank: int = 4, alpha: float = 8.0) -> None:
        super().__init__()
        if not 1 <= rank <= min(base.in_features, base.out_features):
            raise InputError(f"rank: is {rank}; give 1 to {min(base.in_features, base.out_features)}")
        self.base, self.gain = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.base(x) + self.gain * linear(linear(x, self.down), self.up)
        return found

    def merged(self) -> nn.Linear:
        """One linear layer of the same function."""
        made = nn.Linear(self.base.in_features, self.base.out_features, self.base.bias is not None)
        with torch.no_grad():
            made.weight.copy_(self.base.weight + self.gain * self.up @ self.down)
            if self.base.bias is not None:
                made.bias.copy_(self.base.bias)
        return made


@torch.no_grad()
def largest_entries(model: Transformer, x: Tensor) -> list[dict[str, float]]:
    """Rows (layer, head, query, key, frozen_query, frozen_key, product, bound) of tokens int64[n, t]: largest entries.

    query and key: rotated, with the adapters that there are, as the partial case asks. frozen_query and frozen_key:
    without them; product: inputs by the query's weight by the key's, not rotated. With those three more the full case
    asks. bound is sqrt(log t), below which the theory has gradients in nearly linear time; queries carry half of the
    scale 1 / sqrt(d), keys the other half, products all of it, as the theory has none.
    """
    rows: list[dict[str, float]] = []
    stream, places = model.embedding(x), torch.arange(x.shape[1])
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        attention, normed = block.attention, block.attention_norm(stream)
        parts = {"query": attention.query, "key": attention.key}
        parts |= {f"frozen_{name}": getattr(part, "base", part) for name, part in parts.items()}
        split = {
            name: part(normed).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for name, part in parts.items()
        }
        size = split["query"].shape[-1]
        tops = {name: rotated(part, places).abs().amax((0, 2, 3)) / size**0.25 for name, part in split.items()}
        key = attention.key.merged() if isinstance(attention.key, LoRALinear) else attention.key
        product = split["query"] @ key.weight.unflatten(0, (attention.heads, -1))
        tops["product"] = product.abs().amax((0, 2, 3)) / size**0.5
        bound = {"bound": math.sqrt(math.log(x.shape[1]))}
        rows += [
            {"layer": layer, "head": head} | {name: float(top[head]) for name, top in tops.items()} | bound
            for head in range(attention.heads)
        ]
        stream = block(stream)
    return rows
