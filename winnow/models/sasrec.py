"""SASRec: self-attention over a user's last items, scored against the items' own embeddings.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.models.dropout import Dropout

NEVER = -1e9
"""Score of padding: finite, so that differences of log-probabilities are."""


def check_window(x: Tensor, window: int, items: int) -> None:
    """Raise ValueError for a sequence that is too long and for an item that is none."""
    if x.shape[1] > window:
        raise ValueError(f"sequences of {x.shape[1]} items; the model reads {window} at most")
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) <= items:
        raise ValueError(f"an item is {int(x.max())} or {int(x.min())}; items are 1 to {items}, and 0 is padding")


class NextItem(nn.Module):
    """A model with tied embeddings: states of sequences, scores of items, and both in one."""

    embedding: nn.Embedding

    def states(self, x: Tensor) -> Tensor:
        """float32[n, t, d] of items int64[n, t], padded with 0 in front: what each place knows of all before it."""
        raise NotImplementedError

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

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        scores = query @ key.mT / query.shape[-1] ** 0.5
        pattern = scores.masked_fill_(~allowed[:, None], float("-inf")).softmax(-1)
        return self.output((self.dropout(pattern) @ value).transpose(1, 2).flatten(-2))


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

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        x = x + self.dropout(self.attn_out(self.attention_norm(x), allowed))
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

    def states(self, x: Tensor) -> Tensor:
        """float32[n, t, d] of items int64[n, t]; the bias of the last norm before a sequence starts."""
        check_window(x, self.window, self.embedding.num_embeddings - 1)
        there = x > 0
        length = x.shape[1]
        h = self.embedding(x) * self.embedding.embedding_dim**0.5 + self.positions.weight[self.window - length :]
        h = self.dropout(h) * there[..., None]
        earlier = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        # A place without an item reads itself alone; what it makes of that is cleared below.
        allowed = earlier & there[:, None, :] | torch.eye(length, dtype=torch.bool, device=x.device)
        for block in self.blocks:
            h = block(h, allowed) * there[..., None]
        return self.user_state(h)

    def hook_points(self) -> list[str]:
        """The state that scores are made of, and what each part of each block adds."""
        parts = [f"blocks.{i}.{part}" for i in range(len(self.blocks)) for part in ("attn_out", "mlp_out")]
        return ["user_state", *parts]
