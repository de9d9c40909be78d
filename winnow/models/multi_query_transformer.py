"""A transformer whose query heads share one head of keys and values, and its decoding token by token.

Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from winnow.models.rotary import rotated
from winnow.models.transformer import Transformer, first_spread, initialise


class Cache(Protocol):
    """Keys and values of the tokens so far, of one layer."""

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Take in the keys and values float32[n, shared heads, t, d] of the next t tokens."""

    def attend(self, query: Tensor) -> Tensor:
        """What queries float32[n, heads, 1, d] find: float32[n, heads, 1, d]."""


class MultiQueryAttention(nn.Module):
    """Causal self-attention whose heads have queries of their own, and keys and values in common."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.output = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.key, self.value = (nn.Linear(width, width // heads, bias=False) for _ in range(2))

    def parts(self, x: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [n, heads, t, d], keys and values [n, 1, t, d] of tokens at the places from `first` on.

        Queries and keys are rotated by their place.
        """
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        places = torch.arange(first, first + x.shape[1])
        return rotated(query, places), rotated(self.key(x)[:, None], places), self.value(x)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.parts(x)
        key, value = (part.expand(-1, self.heads, -1, -1) for part in (key, value))
        return self.joined(scaled_dot_product_attention(query, key, value, is_causal=True))

    def joined(self, mixed: Tensor) -> Tensor:
        """What the heads found, [n, heads, t, d], as what attention adds, [n, t, width]."""
        return self.output(mixed.transpose(1, 2).flatten(-2))


class MultiQueryTransformer(Transformer):
    """A `Transformer` with one head of keys and values a layer; arguments and errors are the same."""

    blocks: Any

    def __init__(self, vocabulary: int, width: int = 64, layers: int = 2, heads: int = 4, hidden: int = 0) -> None:
        super().__init__(vocabulary, width, layers, heads, hidden)
        for block in self.blocks:
            attention = MultiQueryAttention(width, heads)
            initialise(attention, width)
            nn.init.normal_(attention.output.weight, std=first_spread(width, layers))
            block.attention = attention

    @torch.no_grad()
    def keys_and_values(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [n, 1, t, d] of each layer for tokens int64[n, t] that are read at once."""
        found, x = [], self.embedding(x)
        for block in self.blocks:
            found.append(block.attention.parts(block.attention_norm(x))[1:])
            x = block(x)
        return found

    @torch.no_grad()
    def decode(self, token: Tensor, place: int, caches: Sequence[Cache]) -> Tensor:
        """Logits [n, vocabulary] of what follows tokens int64[n] at a place; each layer's cache takes them in first."""
        return self.logits(self.after(token, place, caches))

    def after(self, token: Tensor, place: int, caches: Sequence[Cache]) -> Tensor:
        """Last hidden states [n, width] after tokens int64[n] at a place; each layer's cache takes them in first."""
        x = self.embedding(token)[:, None]
        for block, cache in zip(self.blocks, caches, strict=True):
            query, key, value = block.attention.parts(block.attention_norm(x), place)
            cache.append(key, value)
            x = x + block.attention.joined(cache.attend(query))
            x = x + block.mlp(block.mlp_norm(x))
        hidden: Tensor = self.norm(x)[:, 0]
        return hidden
