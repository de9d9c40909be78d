"""A multi-query transformer that reads from caches of few bits, token by token, as any language model reads.

What a cache loses shows in each token's chances: those of a text are told as a stream would have them, none of its keys
and values in full but the newest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from winnow.compress.staircase_kv import SegmentCache
from winnow.models.multi_query_transformer import MultiQueryTransformer


class Streams(NamedTuple):
    """A cache for each layer of each row, and the tokens int64[n] that were read; never changed."""

    rows: tuple[tuple[SegmentCache, ...], ...]
    lengths: Tensor

    def select(self, rows: Tensor) -> Streams:
        """The streams of some rows int64[k], in that order, any of them several times."""
        return Streams(tuple(self.rows[row] for row in rows.tolist()), self.lengths[rows])

    def bytes(self) -> int:
        """Of all rows' caches."""
        return sum(cache.bytes() for caches in self.rows for cache in caches)


class StreamedTransformer(nn.Module):
    """A net with caches that `make` gives; what it reads on from are `Streams`."""

    def __init__(self, net: MultiQueryTransformer, make: Callable[[], SegmentCache]) -> None:
        super().__init__()
        self.net, self.make, self.embedding = net, make, net.embedding

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., vocabulary] of the next token from last hidden states [..., width]."""
        return self.net.logits(hidden)

    def read(self, x: Tensor, cache: Streams | None = None, blank: Tensor | None = None) -> tuple[Tensor, Streams]:
        """Last hidden states float32[n, t, width] of tokens int64[n, t] that follow the streams, and these with them.

        blank: of a first call, how many tokens at the left of each row only fill it up; their states are zeros.
        """
        hidden = torch.zeros(*x.shape, self.embedding.embedding_dim)
        rows, lengths = [], []
        for row, tokens in enumerate(x):
            first = int(blank[row]) if blank is not None else 0
            before = int(cache.lengths[row]) if cache is not None else 0
            caches = tuple(map(_copied, cache.rows[row])) if cache is not None else self._fresh()
            for place, token in enumerate(tokens[first:]):
                hidden[row, first + place] = self.net.after(token[None], before + place, caches)[0]
            rows.append(caches)
            lengths.append(before + len(tokens) - first)
        return hidden, Streams(tuple(rows), torch.tensor(lengths))

    def _fresh(self) -> tuple[SegmentCache, ...]:
        return tuple(self.make() for _ in self.net.blocks)


def _copied(cache: SegmentCache) -> SegmentCache:
    """A cache that grows apart; what both hold is shared, since a cache puts new tensors in the place of old ones."""
    return copy.copy(cache)
