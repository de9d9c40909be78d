"""GRU4Rec: a gated recurrent network over a user's last items, scored against the items' own embeddings.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.models.dropout import Dropout
from winnow.models.sasrec import NextItem, check_window


class GRU4Rec(NextItem):
    """Items int64[n, t <= window], padded with 0 in front -> scores float32[n, t, items + 1] of what follows.

    Raises ValueError for a longer sequence and an unknown item.
    """

    def __init__(self, items: int, window: int = 50, d: int = 64, hidden: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        self.window = window
        self.embedding = nn.Embedding(items + 1, d, padding_idx=0)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(d, hidden, batch_first=True)
        self.user_state = nn.Linear(hidden, d)
        nn.init.xavier_normal_(self.embedding.weight)
        with torch.no_grad():
            self.embedding.weight[0] = 0

    def states(self, x: Tensor, last: bool = False) -> Tensor:
        """float32[n, t, d] of items int64[n, t]; 0 before a sequence starts."""
        check_window(x, self.window, self.embedding.num_embeddings - 1)
        # The recurrence starts at the first item, whatever the padding before it.
        padding = (x == 0).cumprod(1).sum(1, keepdim=True)
        places = torch.arange(x.shape[1], device=x.device)
        started = self.gru(self.dropout(self.embedding(x.gather(1, (places + padding) % x.shape[1]))))[0]
        asked = slice(-1, None) if last else slice(None)
        back = (places[asked] - padding) % x.shape[1]
        hidden = started.gather(1, back[..., None].expand(-1, -1, started.shape[-1]))
        return self.user_state(self.dropout(hidden)) * (x[:, asked] > 0)[..., None]

    def hook_points(self) -> list[str]:
        """The state that scores are made of."""
        return ["user_state"]
