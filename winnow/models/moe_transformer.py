"""A transformer whose feed-forward layers are mixtures of experts, of MoE-X's or of the usual kind.

Yang, Venhoff, Khakzar, Schroeder de Witt, Dokania, Bibi and Torr, "Mixture of Experts Made Intrinsically
Interpretable", ICML 2025 (experts with ReLU, routing by the activity that is expected of an expert); Fedus, Zoph and
Shazeer, "Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity", JMLR, 2022
(the learned router, the loss that balances loads).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

from winnow.models.transformer import Transformer

Router = Literal["sparsity", "topk"]
Activation = Literal["relu", "gelu"]
SMALLEST_VARIANCE = 1e-12
"""Of a pre-activation, so that an input of zeros has a score, and a gradient."""


def expected_activity(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Share of an expert's units that are expected above zero: float[n, experts], each in [0, 1].

    weight float[experts, d, h] and bias float[experts, h] of the encoders, x float[n, d]. What leads from an input to
    an expert's units is taken for draws of one normal distribution, so a pre-activation is normal, too; the bias is an
    input that is always 1. O(experts * d) a row, once means and variances of the weights are known.
    """
    mean = x @ weight.mean(2).T + bias.mean(1)
    variance = x.square() @ weight.var(2, correction=0).T + bias.var(1, correction=0)
    return (1 + torch.erf(mean / (2 * variance.clamp(min=SMALLEST_VARIANCE)).sqrt())) / 2


class Routing(NamedTuple):
    """Which experts see which of n rows."""

    scores: Tensor
    """float[n, experts]: an expert of a higher one is preferred."""
    chosen: Tensor
    """int64[n, k], best first."""
    gates: Tensor
    """float[n, k]: their shares of the output; a row sums to 1."""


def balance_loss(routing: Routing) -> Tensor:
    """experts * sum of (share of requests) * (mean probability) over experts; 1 where both are uniform."""
    probability = routing.scores.softmax(1).mean(0)
    load = torch.bincount(routing.chosen.flatten(), minlength=len(probability)) / routing.chosen.numel()
    return len(probability) * (load.to(probability.dtype) * probability).sum()


class MoEX(nn.Module):
    """k of several two-layer networks for each row, mixed by their gates: float[..., d] -> the same.

    router: sparsity, the experts of the lowest expected activity, without parameters; or topk, a learned linear one.
    One expert is a usual feed-forward layer, with neither. Raises ValueError for k above the experts, h below 1, and
    unknown names.
    """

    def __init__(
        self, d: int, h: int, experts: int = 8, k: int = 2, router: Router = "sparsity", act: Activation = "relu"
    ) -> None:
        super().__init__()
        if not 1 <= k <= experts:
            raise ValueError(f"k is {k} of {experts} experts; it must be between 1 and that")
        if d < 1 or h < 1:
            raise ValueError(f"d is {d} and h is {h}; they must be at least 1")
        for name, value, known in (("router", router, get_args(Router)), ("act", act, get_args(Activation))):
            if value not in known:
                raise ValueError(f"{name}: unknown name {value!r}; use one of {', '.join(known)}")
        self.experts, self.k, self.router = experts, k, router
        self.act = relu if act == "relu" else gelu
        self.encoder = nn.Parameter(torch.empty(experts, d, h).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(experts, h))
        self.decoder = nn.Parameter(torch.empty(experts, h, d).normal_(std=0.02))
        self.learned = nn.Linear(d, experts, bias=False) if router == "topk" and experts > 1 else None
        self.balance = torch.ones(())
        """`balance_loss` of the rows seen last, with its gradient."""

    def scores(self, x: Tensor) -> Tensor:
        """float[n, experts] of rows float[n, d]; the router without parameters has 1 - 2 * `expected_activity`."""
        if self.learned is not None:
            return self.learned(x)
        if self.experts == 1:
            return x.new_zeros(len(x), 1)
        return 1 - 2 * expected_activity(self.encoder, self.bias, x)

    def route(self, x: Tensor) -> Routing:
        """The experts of rows float[n, d]; of equal scores that of the lower number goes first."""
        scores = self.scores(x)
        chosen = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.k]
        return Routing(scores, chosen, scores.gather(1, chosen).softmax(1))

    def hidden(self, expert: int, x: Tensor) -> Tensor:
        """Activations float[n, h] of one expert's units on rows float[n, d]."""
        return self.act(x @ self.encoder[expert] + self.bias[expert])

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        routing = self.route(rows)
        self.balance = balance_loss(routing)
        out = torch.zeros_like(rows)
        for expert in range(self.experts):
            here, place = (routing.chosen == expert).nonzero(as_tuple=True)
            # index_select, not brackets: the gradient of those adds up in an order that threads decide.
            made = self.hidden(expert, rows.index_select(0, here)) @ self.decoder[expert]
            out = out.index_add(0, here, made * routing.gates[here, place, None])
        return out.view(x.shape)

    def as_wide_mlp(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layer as one wide one: activations float[n, experts * h], and gates float[n, experts] (0: not chosen).

        Activations of experts that a row does not see are zero; those it sees are not yet multiplied by their gates.
        Gates repeated h times, times the activations, times `decoder.flatten(0, 1)` is the output.
        """
        routing = self.route(x)
        gates = torch.zeros_like(routing.scores).scatter(1, routing.chosen, routing.gates)
        units = torch.stack([self.hidden(expert, x) for expert in range(self.experts)], dim=1)
        return (units * (gates > 0)[:, :, None]).flatten(1), gates


class MoeTransformer(Transformer):
    """A `Transformer` with `MoEX` for its feed-forward layers; `hidden` is the width of each expert.

    Raises ValueError as `MoEX` does.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 128,
        experts: int = 8,
        k: int = 2,
        router: Router = "sparsity",
        act: Activation = "relu",
    ) -> None:
        super().__init__(vocabulary, width, layers, heads, hidden)
        for block in self.blocks:
            block.mlp = MoEX(width, hidden, experts, k, router, act)
            nn.init.normal_(block.mlp.decoder, std=0.02 / math.sqrt(2 * layers))
            if block.mlp.learned is not None:
                nn.init.normal_(block.mlp.learned.weight, std=0.02)

    def mixtures(self) -> list[MoEX]:
        """The feed-forward layers, first to last."""
        return [block.mlp for block in self.blocks]  # type: ignore[misc]
