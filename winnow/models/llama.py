"""The decoder of `transformer` with grouped heads of keys, which reads on from what it has read, several texts at once.

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023; grouped heads: Ainslie et al., "GQA",
EMNLP 2023. Its parameters bear the names of `Transformer`'s, so a model of that kind is read by this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from winnow.models.rotary import ROTARY_BASE, Turns, turned, turns
from winnow.models.transformer import FeedForward


class Cache(NamedTuple):
    """Rotated keys and values [n, heads, t, d] of each block; the first `blank` int64[n] of `length` places are empty.

    A block without attention has [n, 0].
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    blank: Tensor
    length: int

    @property
    def lengths(self) -> Tensor:
        """Tokens that were read in each row, int64[n]."""
        return self.length - self.blank

    def bytes(self) -> int:
        """Of all keys and values."""
        return sum(part.nbytes for part in (*self.keys, *self.values))

    def select(self, rows: Tensor) -> Cache:
        """The cache of some rows int64[k], in that order, any of them several times."""
        keys, values = (tuple(x.index_select(0, rows) for x in part) for part in (self.keys, self.values))
        return Cache(keys, values, self.blank[rows], self.length)


class Llama(nn.Module):
    """Tokens int64[n, t] -> logits float32[n, t, vocabulary] of the token that follows each.

    kv_heads: heads of keys and values, each shared by as many heads of queries; 0 is one for each. hidden: 0 is 8 / 3
    of the width, rounded up to a multiple of 8. tied: whether the embedding is the output layer as well. attention,
    mlp: the blocks that have attention and feed-forward layers; None is all.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 0,
        kv_heads: int = 0,
        base: float = ROTARY_BASE,
        epsilon: float = 1e-6,
        tied: bool = True,
        attention: Sequence[int] | None = None,
        mlp: Sequence[int] | None = None,
    ) -> None:
        kv_heads = kv_heads or heads
        if width % (2 * heads) or heads % kv_heads:
            raise ValueError(f"width {width}, {heads} heads and {kv_heads} of keys do not go into one another")
        super().__init__()
        self.size, self.base = width // heads, base
        self.embedding = nn.Embedding(vocabulary, width)
        hidden = hidden or -(-8 * width // 3 // 8) * 8
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, hidden, epsilon) for _ in range(layers))
        for part, kept in (("attention", attention), ("mlp", mlp)):
            for index in set(range(layers)) - set(range(layers) if kept is None else kept):
                setattr(self.blocks[index], part, None)
                setattr(self.blocks[index], f"{part}_norm", None)
        self.norm = nn.RMSNorm(width, eps=epsilon)
        self.output = None if tied else nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.read(x)
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., vocabulary] of the next token from last hidden states [..., width]."""
        return linear(hidden, self.embedding.weight if self.output is None else self.output.weight)

    def read(self, x: Tensor, cache: Cache | None = None, blank: Tensor | None = None) -> tuple[Tensor, Cache]:
        """Last hidden states float32[n, t, width] of tokens int64[n, t] that follow the cache, and the cache with them.

        blank: of a first call, how many tokens at the left of each row only fill it up. What is given for them means
        nothing.
        """
        blank = cache.blank if cache is not None else torch.zeros(len(x), dtype=torch.int64) if blank is None else blank
        before = cache.length if cache is not None else 0
        columns = torch.arange(before + x.shape[1])
        own = columns[before:]
        seen = (columns <= own[:, None]) & (columns >= blank[:, None, None])
        seen |= (columns == own[:, None]) & (own[:, None] < blank[:, None, None])  # else a blank row has no key at all
        places = (own - blank[:, None]).clamp(min=0)
        by = turns(places[:, None], self.size, self.base, self.embedding.weight.dtype)
        stream, keys, values = self.embedding(x), [], []
        for index, block in enumerate(self.blocks):
            past = (cache.keys[index], cache.values[index]) if cache is not None else None
            stream, (key, value) = block(stream, by, seen[:, None], past)
            keys.append(key)
            values.append(value)
        return self.norm(stream), Cache(tuple(keys), tuple(values), blank, len(columns))


Pair = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream; either may be gone."""

    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=epsilon)
        self.attention = GroupedAttention(width, heads, kv_heads)
        self.mlp_norm, self.mlp = nn.RMSNorm(width, eps=epsilon), FeedForward(width, hidden)

    def forward(self, x: Tensor, by: Turns, seen: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
        now = (x.new_zeros(len(x), 0),) * 2
        if self.attention is not None:
            mixed, now = self.attention(self.attention_norm(x), by, seen, past)
            x = x + mixed
        return (x if self.mlp is None else x + self.mlp(self.mlp_norm(x))), now


class GroupedAttention(nn.Module):
    """Attention of several heads of queries over fewer of keys and values, without biases."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.query, self.output = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = (nn.Linear(width, kv_heads * self.size, bias=False) for _ in range(2))

    def forward(self, x: Tensor, by: Turns, seen: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
        query, key, value = (
            part(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        query, key = turned(query, by), turned(key, by)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=self.kv_heads < self.heads)
        return self.output(mixed.transpose(1, 2).flatten(-2)), (key, value)
