"""An n-gram model that reads on as a net does, so that it draws, scores and is judged like any language model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.train.ngram import NGram

SMALLEST = 1e-30
"""Chance below which none is told; one of a fitted model is far above."""


class Tail(NamedTuple):
    """The newest tokens int64[n, t] of each row, the first `blank` int64[n] of them none, and how many were read."""

    tokens: Tensor
    blank: Tensor
    lengths: Tensor

    def select(self, rows: Tensor) -> Tail:
        """The tails of some rows int64[k], in that order, any of them several times."""
        return Tail(self.tokens[rows], self.blank[rows], self.lengths[rows])


class NGramReader(nn.Module):
    """The hidden state after a token is the log-probability float32[vocabulary] of each that may follow [nats]."""

    def __init__(self, ngram: NGram) -> None:
        super().__init__()
        self.ngram = ngram
        self.embedding = nn.Embedding(ngram.vocabulary, 1)
        nn.init.zeros_(self.embedding.weight)
        # Counts are not learned by gradients.
        self.embedding.requires_grad_(False)
        for k, order in enumerate(ngram.orders):
            self.register_buffer(f"grams{k}", torch.from_numpy(order.grams))
            self.register_buffer(f"discounted{k}", torch.from_numpy(order.discounted))

    def logits(self, hidden: Tensor) -> Tensor:
        """The log-probabilities themselves."""
        return hidden

    def read(self, x: Tensor, cache: Tail | None = None, blank: Tensor | None = None) -> tuple[Tensor, Tail]:
        """Log-probabilities float32[n, t, vocabulary] after tokens int64[n, t] that follow the tail, and the new tail.

        blank: of a first call, how many tokens at the left of each row only fill it up.
        """
        blank = cache.blank if cache is not None else torch.zeros(len(x), dtype=torch.int64) if blank is None else blank
        tokens = torch.cat([cache.tokens, x], 1) if cache is not None else x
        before, keep = tokens.shape[1] - x.shape[1], len(self.ngram.orders) - 1
        there = np.maximum(np.arange(1, tokens.shape[1] + 1) - blank.numpy()[:, None], 0)[:, before:]
        padded = np.pad(tokens.numpy(), ((0, 0), (keep, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, max(keep, 1), axis=1)[:, -x.shape[1] :]
        found = self.ngram.following(windows.reshape(-1, max(keep, 1)), there.reshape(-1))
        lengths = cache.lengths if cache is not None else -blank
        gone = max(tokens.shape[1] - max(keep, 1), 0)
        tail = Tail(tokens[:, gone:], (blank - gone).clamp(min=0), lengths + x.shape[1])
        logs = np.log(np.maximum(found, SMALLEST)).astype(np.float32)
        return torch.from_numpy(logs).view(*x.shape, -1), tail
