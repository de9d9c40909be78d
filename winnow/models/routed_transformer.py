"""A decoder whose blocks have a large and a small feed-forward layer, and a linear map that picks one for each token.

It is what `winnow.compress.duo` makes of a model and its router. It reads on from a cache as `Llama` does, so whatever
decodes, searches or scores texts takes it like any other language model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.models.llama import Llama
from winnow.models.transformer import FeedForward


class RoutedFeedForward(nn.Module):
    """Two feed-forward layers, of which each token takes the one its score says: float[..., width] -> the same."""

    def __init__(self, width: int, big: int, small: int) -> None:
        super().__init__()
        self.big, self.small = FeedForward(width, big), FeedForward(width, small)
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Tokens are gathered by their layer, so that each layer computes for its own tokens alone.
        flat, taken = x.flatten(0, -2), self.takes_big(x).flatten()
        out = torch.empty_like(flat)
        out[taken], out[~taken] = self.big(flat[taken]), self.small(flat[~taken])
        return out.view_as(x)

    def takes_big(self, x: Tensor) -> Tensor:
        """bool[...]: which tokens of x float[..., width] take the large layer."""
        found: Tensor = self.score(x)[..., 0] > 0
        return found


class RoutedTransformer(Llama):
    """A `Llama` with routed feed-forward layers of inner widths `big` and `small`."""

    def __init__(
        self, vocabulary: int, width: int = 64, layers: int = 6, heads: int = 4, big: int = 256, small: int = 16
    ) -> None:
        super().__init__(vocabulary, width, layers, heads, big)
        for block in self.blocks:
            block.mlp = RoutedFeedForward(width, big, small)
