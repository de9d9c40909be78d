"""MoE-X: a mixture of experts whose units are sparse and whose router picks the experts that stay quietest.

Yang, Venhoff, Khakzar, Schroeder de Witt, Dokania, Bibi and Torr, "Mixture of Experts Made Intrinsically
Interpretable", ICML 2025; the balancing loss is that of Fedus, Zoph and Shazeer, "Switch Transformers", JMLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, one_hot, relu

from winnow.errors import InputError
from winnow.models import build
from winnow.models.llama import Llama
from winnow.models.transformer import Block, Transformer, first_spread

Router = Literal["sparsity", "learned"]
Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "gelu": gelu}
SMALLEST_VARIANCE = 1e-12


class Dense(nn.Module):
    """A plain feed-forward layer float[..., width] -> the same: what one expert is."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(width, hidden), nn.Linear(hidden, width, bias=False)
        self.activation = activation
        nn.init.zeros_(self.encoder.bias)
        for weight in (self.encoder.weight, self.decoder.weight):
            nn.init.normal_(weight, std=first_spread(width))

    def hidden(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.hidden(x))


class Moments(NamedTuple):
    """Of each expert's units: mean and variance of the weights to each input float[experts, width], and mean bias."""

    mean: Tensor
    variance: Tensor
    bias: Tensor


def moments(encoder: Tensor, bias: Tensor) -> Moments:
    """Of encoders float[experts, width, hidden] and biases float[experts, hidden]: all that `expected_share` asks."""
    return Moments(encoder.mean(2), encoder.var(2, correction=0), bias.mean(1))


def expected_share(of: Moments, x: Tensor) -> Tensor:
    """float[n, experts] of x float[n, width]: the share of units above 0, were weights to each input normal.

    Costs as much as a linear router.
    """
    mean, variance = x @ of.mean.T + of.bias, x.square() @ of.variance.T
    # P(z > 0) for z ~ N(mean, variance), section 4 of the paper.
    return (1 + torch.erf(mean / (2 * variance.clamp(min=SMALLEST_VARIANCE)).sqrt())) / 2


def expected_activity(encoder: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """`expected_share` of the `moments` of encoders and biases."""
    return expected_share(moments(encoder, bias), x)


class MoEX(nn.Module):
    """Experts float[..., width] -> the same, of which the best k by the router work on each token.

    router: `sparsity` scores an expert by minus its expected activity and has no parameters; `learned` is a linear
    layer. Weights of the chosen are a softmax over all, made to sum to 1. After a forward `balance` has the loss that
    is 1 where all experts are used alike. Raises InputError for k outside 1 to experts, and fewer than one unit.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        experts: int = 8,
        k: int = 2,
        router: Router = "sparsity",
        activation: Activation = "relu",
    ) -> None:
        if not 1 <= k <= experts:
            raise InputError(f"k: is {k}; give 1 to the number of experts, {experts}")
        if hidden < 1:
            raise InputError(f"hidden: is {hidden}; give at least 1")
        if router not in get_args(Router) or activation not in ACTIVATIONS:
            raise InputError(f"router {router!r}, activation {activation!r}: give sparsity or learned, relu or gelu")
        super().__init__()
        self.k, self.activation = k, activation
        self.encoder = nn.Parameter(torch.empty(experts, width, hidden))
        self.bias = nn.Parameter(torch.zeros(experts, hidden))
        self.decoder = nn.Parameter(torch.empty(experts, hidden, width))
        self.router = nn.Linear(width, experts, bias=False) if router == "learned" else None
        for weight in (self.encoder, self.decoder, *(self.router.parameters() if self.router else ())):
            nn.init.normal_(weight, std=first_spread(width))
        self.balance = torch.ones(())

    def scores(self, x: Tensor) -> Tensor:
        """float[n, experts] of x float[n, width]: the higher, the sooner an expert is chosen."""
        if self.router is not None:
            scores: Tensor = self.router(x)
            return scores
        return -expected_activity(self.encoder, self.bias, x)

    def routed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights float[n, k] and experts int64[n, k], the best first; sets `balance`."""
        shares = self.scores(x).softmax(-1)
        weights, chosen = shares.topk(self.k, dim=-1)
        used = one_hot(chosen, shares.shape[1]).to(x.dtype).sum(1).mean(0) / self.k
        self.balance = shares.shape[1] * (used * shares.mean(0)).sum()
        return weights / weights.sum(-1, keepdim=True), chosen

    def __getstate__(self) -> dict[str, Any]:
        # A copy takes no part in the graph of the latest forward; torch would refuse to make one that does.
        return self.__dict__ | {"balance": self.balance.detach()}

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        weights, chosen = self.routed(flat)
        found = torch.zeros_like(flat)
        # Each expert sees its own tokens alone; running all and masking would cost experts / k times as much.
        for expert, (encoder, bias, decoder) in enumerate(self._experts()):
            rows, slots = (chosen == expert).nonzero(as_tuple=True)
            hidden = self._hidden(flat[rows], encoder, bias)
            found = found.index_add(0, rows, weights[rows, slots, None] * (hidden @ decoder))
        return found.view_as(x)

    def _experts(self) -> Iterator[tuple[Tensor, ...]]:
        """Encoder, bias and decoder of each expert."""
        # Of each expert taken by its number, the gradient would be as large as that of all, and mostly 0.
        return zip(self.encoder.unbind(), self.bias.unbind(), self.decoder.unbind(), strict=True)

    def _hidden(self, x: Tensor, encoder: Tensor, bias: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](x @ encoder + bias)

    def as_wide_mlp(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layer as one wide one: units float[n, experts * hidden], not yet weighted, and its gates of that shape.

        Gates are the expert's weight, 0 where it is not chosen; units times gates, times the decoders laid end to end,
        are the output.
        """
        flat = x.flatten(0, -2)
        weights, chosen = self.routed(flat)
        gates = flat.new_zeros(len(flat), len(self.encoder)).scatter(1, chosen, weights)
        units = torch.stack([self._hidden(flat, encoder, bias) for encoder, bias, _ in self._experts()], dim=1)
        return units.flatten(1), gates[:, :, None].expand_as(units).flatten(1)


def with_feed_forward(model: Transformer, layers: Sequence[nn.Module]) -> Transformer:
    """Put a feed-forward layer into each block of a decoder-only model, in place; returns it."""
    for block, layer in zip(model.blocks, layers, strict=True):
        assert isinstance(block, Block)
        block.mlp = layer  # type: ignore[assignment]
    return model


def balance_loss(model: nn.Module, weight: float = 0.01) -> Tensor:
    """The weight times the sum of the layers' balancing losses of the latest forward; 0 without experts."""
    losses = [layer.balance for layer in model.modules() if isinstance(layer, MoEX)]
    return weight * torch.stack(losses).sum() if losses else torch.zeros(())


class MoEXTransformer(Transformer):
    """A `Transformer` with experts of `hidden` units each in place of feed-forward layers; arguments of `MoEX`."""

    def __init__(
        self,
        vocabulary: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        experts: int = 8,
        k: int = 2,
        hidden: int = 256,
        router: Router = "sparsity",
        activation: Activation = "relu",
    ) -> None:
        mixtures = [MoEX(width, hidden, experts, k, router, activation) for _ in range(layers)]
        super().__init__(vocabulary, width, layers, heads)
        with_feed_forward(self, mixtures)

    def extra_loss(self) -> Tensor:
        """What training adds to the loss of the latest forward, so that no expert is left out."""
        return balance_loss(self)


def reading_on(model: Transformer, layers: Sequence[nn.Module]) -> Llama:
    """A model's embedding, attention and norms as a net that reads on, with these feed-forward layers."""
    attention: Any = model.blocks[0].attention
    vocabulary, width = model.embedding.weight.shape
    made = build("llama", vocabulary=vocabulary, width=width, layers=len(model.blocks), heads=attention.heads)
    assert isinstance(made, Llama)
    made.load_state_dict({n: t for n, t in model.state_dict().items() if ".mlp." not in n}, strict=False)
    for block, layer in zip(made.blocks, layers, strict=True):
        block.mlp = layer
    return made
