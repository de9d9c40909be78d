"""SASRec: self-attention over a user's last items, scored against the items' own embeddings.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.models.dropout import Dropout

NEVER = -1e9
"""Score of padding: finite, so that differences of log-probabilities are."""
ROWS_AT_ONCE = 128
"""Sequences read together where the last state of many is asked for."""


def check_window(x: Tensor, window: int, items: int) -> None:
    """Raise ValueError for a sequence that is too long and for an item that is none."""
    if x.shape[1] > window:
        raise ValueError(f"sequences of {x.shape[1]} items; the model reads {window} at most")
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) <= items:
        raise ValueError(f"an item is {int(x.max())} or {int(x.min())}; items are 1 to {items}, and 0 is padding")


def _shared_padding(x: Tensor) -> int:
    """How many places at the start of x int64[n, t] hold no item in any row; one place is left at least."""
    return int((x > 0).any(0)[:-1].cumsum(0).eq(0).sum())


class NextItem(nn.Module):
    """A model with tied embeddings: states of sequences, scores of items, and both in one."""

    embedding: nn.Embedding

    def states(self, x: Tensor, last: bool = False) -> Tensor:
        """float32[n, t, d] of items int64[n, t], padded with 0 in front: what each place knows of all before it.

        last: float32[n, 1, d], of the last place alone, for less than the states of all.
        """
        raise NotImplementedError

    def last_states(self, x: Tensor) -> Tensor:
        """float32[n, d]: the state at the last place of each sequence of x int64[n, t]."""
        # Rows of like length are read together, without the padding that they share.
        order = (x > 0).sum(1).argsort(stable=True)
        parts = [rows[:, _shared_padding(rows) :] for rows in x[order].split(ROWS_AT_ONCE)]
        return torch.cat([self.states(part, last=True)[:, 0] for part in parts])[order.argsort()]

    def scores(self, states: Tensor) -> Tensor:
        """float32[..., items + 1] of states float32[..., d]; padding has a score that nothing is below."""
        found = states @ self.embedding.weight.T
        padding = torch.zeros(found.shape[-1], dtype=torch.bool, device=found.device)
        padding[0] = True
        return found.masked_fill(padding, NEVER)

    def forward(self, x: Tensor) -> Tensor:
        """Scores float32[n, t, items + 1] of the item that follows each place of x int64[n, t]."""
        return self.scores(self.states(x))


class Attention(nn.Module):
    """Self-attention of several heads over places that are not later and hold an item."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(d, d) for _ in range(4))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """float[n, q, d] of x float[n, t, d]: what the last q places read.

        hidden: float[n, q, t], 0 where a place is read and -inf where it is not.
        """
        width = x.shape[-1] // self.heads
        parts = (self.query(x[:, -hidden.shape[1] :]), self.key(x), self.value(x))
        # Head by head, each a view: a product of all heads at once copies the three, and what comes back to them.
        read = [
            self.dropout(torch.baddbmm(hidden, query, key.mT, alpha=width**-0.5).softmax(-1)) @ value
            for query, key, value in zip(*(part.split(width, -1) for part in parts), strict=True)
        ]
        return self.output(torch.cat(read, -1))


class FeedForward(nn.Module):
    """Two layers of width d for each place, with a ReLU between."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.up, self.down, self.dropout = nn.Linear(d, d), nn.Linear(d, d), Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(torch.relu(self.up(x))))


class Block(nn.Module):
    """Attention, then feed-forward, each after a norm and added to what comes in."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn_out, self.mlp_out = Attention(d, heads, dropout), FeedForward(d, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """float[n, q, d] of x float[n, t, d] and hidden float[n, q, t], see `Attention`: the last q places."""
        x = x[:, -hidden.shape[1] :] + self.dropout(self.attn_out(self.attention_norm(x), hidden))
        return x + self.dropout(self.mlp_out(self.mlp_norm(x)))


class SASRec(NextItem):
    """Items int64[n, t <= window], padded with 0 in front -> scores float32[n, t, items + 1] of what follows.

    Places are counted from the end, so that more padding changes nothing. Raises ValueError for a d that the heads do
    not divide, a longer sequence, an unknown item.
    """

    def __init__(
        self, items: int, window: int = 50, d: int = 64, blocks: int = 2, heads: int = 2, dropout: float = 0.3
    ) -> None:
        if d % heads:
            raise ValueError(f"d {d} is no multiple of the {heads} heads")
        super().__init__()
        self.window = window
        self.embedding = nn.Embedding(items + 1, d, padding_idx=0)
        self.positions = nn.Embedding(window, d)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(d, heads, dropout) for _ in range(blocks))
        self.user_state = nn.LayerNorm(d)
        for weight in (self.embedding.weight, self.positions.weight):
            nn.init.xavier_normal_(weight)
        with torch.no_grad():
            self.embedding.weight[0] = 0

    def states(self, x: Tensor, last: bool = False) -> Tensor:
        """float32[n, t, d] of items int64[n, t]; the bias of the last norm before a sequence starts."""
        check_window(x, self.window, self.embedding.num_embeddings - 1)
        length = x.shape[1]
        h = self.embedding(x) * self.embedding.embedding_dim**0.5 + self.positions.weight[self.window - length :]
        there = (x > 0)[..., None].to(h.dtype)
        h = self.dropout(h) * there
        earlier = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        # A place without an item reads itself alone; what it makes of that is cleared below.
        allowed = earlier & (x > 0)[:, None, :] | torch.eye(length, dtype=torch.bool, device=x.device)
        hidden = torch.zeros(allowed.shape, dtype=h.dtype, device=x.device).masked_fill_(~allowed, float("-inf"))
        for index, block in enumerate(self.blocks, 1):
            if last and index == len(self.blocks):
                hidden, there = hidden[:, -1:], there[:, -1:]
            h = block(h, hidden) * there
        return self.user_state(h[:, -1:] if last else h)

    def hook_points(self) -> list[str]:
        """The state that scores are made of, and what each part of each block adds."""
        parts = [f"blocks.{i}.{part}" for i in range(len(self.blocks)) for part in ("attn_out", "mlp_out")]
        return ["user_state", *parts]
