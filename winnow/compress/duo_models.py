"""What routes cost, small twins for a model that is trained already, and a model with its router as one file.

Method: Alizadeh et al., see `winnow.compress.duo`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from winnow.compress.duo import BIG, SMALL, DuoTransformer, Router
from winnow.models import build
from winnow.models.routed_transformer import RoutedTransformer
from winnow.models.transformer import Block, Transformer


class Costs(NamedTuple):
    """Multiply-adds of a token, on average over a stretch; biases, norms and nonlinearities are left out."""

    shared: float
    """Attention of all blocks, and the scores of the next token."""
    big: float
    """One large feed-forward layer."""
    small: float
    """One small one."""
    router: float
    """The map that picks, of one block."""

    def of(self, routes: Tensor) -> Tensor:
        """float64[...] of routes int64[layers, ...], or of shares of large layers float[layers, ...], without routers.

        A skipped layer costs nothing; of a share, the rest is small.
        """
        if routes.is_floating_point():
            shares = routes.double()
            return self.shared + (shares * self.big + (1 - shares) * self.small).sum(0)
        return self.shared + self.big * (routes == BIG).sum(0).double() + self.small * (routes == SMALL).sum(0)


def costs(model: DuoTransformer, length: int) -> Costs:
    """What a stretch of `length` tokens costs; each token's scores with all of them count, masked ones as well."""
    (vocabulary, width), block = model.embedding.weight.shape, model.blocks[0]
    attention = 4 * width**2 + 2 * length * width
    big, small = (3 * width * len(layer.up.weight) for layer in (block.mlp.big, block.mlp.small))
    return Costs(float(len(model.blocks) * attention + vocabulary * width), float(big), float(small), float(width))


def with_twins(model: Transformer, share: int, seed: int) -> DuoTransformer:
    """A trained model with a new small twin of each feed-forward layer, whose inner width is `share` times smaller.

    Its own weights are the large layers' and all that is shared; routes that are all large give its own logits.
    """
    vocabulary, width = model.embedding.weight.shape
    block = model.blocks[0]
    assert isinstance(block, Block)
    big = len(block.mlp.up.weight)
    sizes = {"width": width, "layers": len(model.blocks), "heads": block.attention.heads}
    sizes |= {"big": big, "small": max(1, big // share)}
    made = build("duo_transformer", seed=seed, vocabulary=vocabulary, **sizes)
    assert isinstance(made, DuoTransformer)
    state = {name.replace(".mlp.", ".mlp.big."): tensor for name, tensor in model.state_dict().items()}
    made.load_state_dict(state, strict=False)
    return made.eval()


def twins(model: DuoTransformer) -> list[torch.nn.Parameter]:
    """The weights of the small layers."""
    return [parameter for block in model.blocks for parameter in block.mlp.small.parameters()]


def routed(model: DuoTransformer, router: Router) -> RoutedTransformer:
    """One model that routes for itself, as `Router.routed` does with hard choices; `save_model` writes it."""
    (vocabulary, width), block = model.embedding.weight.shape, model.blocks[0]
    sizes = {"width": width, "layers": len(model.blocks), "heads": block.attention.heads}
    sizes |= {"big": len(block.mlp.big.up.weight), "small": len(block.mlp.small.up.weight)}
    made = build("routed_transformer", vocabulary=vocabulary, **sizes)
    assert isinstance(made, RoutedTransformer)
    scores = {f"blocks.{name.replace('.', '.mlp.score.', 1)}": t for name, t in router.layers.state_dict().items()}
    made.load_state_dict(model.state_dict() | scores)
    return made.eval()
