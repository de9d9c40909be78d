"""MoE-X: mixtures of experts up-cycled from a dense model, trained with balanced loads, and what their experts do.

Yang, Venhoff, Khakzar, Schroeder de Witt, Dokania, Bibi and Torr, "Mixture of Experts Made Intrinsically
Interpretable", ICML 2025; up-cycling after Komatsuzaki et al., "Sparse Upcycling: Training Mixture-of-Experts from
Dense Checkpoints", ICLR 2023. The layer is in `winnow.models.moe_transformer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.hooks import capture
from winnow.models.moe_transformer import MoeTransformer, MoEX
from winnow.workloads.texts import Batch, Texts

BALANCE = 0.01
"""Weight of each layer's balance loss, as in Fedus et al. and in the paper."""
NOISE = 0.01


class BalancedTexts:
    """Texts as a mixture of experts is trained on them: so many batches an epoch, loads balanced.

    Raises InputError for a training split of fewer batches.
    """

    def __init__(self, texts: Texts, steps: int) -> None:
        self.texts, self.steps = texts, steps

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """The first `steps` batches of an epoch's order."""
        found = 0
        for batch in islice(self.texts.batches(split, size, seed, epoch), self.steps):
            found += 1
            yield batch
        if found < self.steps:
            raise InputError(f"steps: is {self.steps} where {split} has {found} batches of {size}; lower it")

    def loss(self, model: MoeTransformer, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy, in nats, and the balance loss of each mixture."""
        loss = self.texts.loss(model, batch, label_smoothing)
        for mixture in model.mixtures():
            if mixture.experts > 1:
                loss = loss + BALANCE * mixture.balance
        return loss

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """None: models are judged once, when all are there."""
        return {}


@torch.no_grad()
def upcycle(dense: MoEX, mixture: MoEX, generator: torch.Generator, noise: float = NOISE) -> None:
    """Give each expert of a mixture the weights of a dense layer, and normal noise of this deviation.

    The router stays as it is. As gates sum to 1, without noise the mixture computes what the dense layer does, if both
    have the same activation. Raises ValueError for a layer of several experts or another shape, and noise below 0.
    """
    if dense.experts != 1 or dense.encoder.shape[1:] != mixture.encoder.shape[1:]:
        shapes = f"{tuple(dense.encoder.shape)} for experts of {tuple(mixture.encoder.shape[1:])}"
        raise ValueError(f"a dense layer's encoder is {shapes}; give one expert of their shape")
    if not noise >= 0:
        raise ValueError(f"noise is {noise}; it must be at least 0")
    for name in ("encoder", "bias", "decoder"):
        source, target = getattr(dense, name), getattr(mixture, name)
        target.copy_(source.expand_as(target) + noise * torch.randn(target.shape, generator=generator))


@torch.no_grad()
def upcycle_model(
    dense: MoeTransformer, mixture: MoeTransformer, generator: torch.Generator, noise: float = NOISE
) -> None:
    """Give a model the weights of a dense one, its mixtures those of the dense layers as `upcycle` has it."""
    own = {name for name, _ in mixture.named_parameters() if ".mlp." in name}
    mixture.load_state_dict(
        {n: (mixture if n in own else dense).get_parameter(n) for n, _ in mixture.named_parameters()}
    )
    for source, target in zip(dense.mixtures(), mixture.mixtures(), strict=True):
        upcycle(source, target, generator, noise)


@torch.no_grad()
def mixture_inputs(model: MoeTransformer, x: Tensor, layer: int) -> Tensor:
    """What a layer's mixture is given for tokens int64[n, t]: float[n * t, d]."""
    return capture(model, x, f"blocks.{layer}.mlp_norm")


@torch.no_grad()
def expert_trace(model: MoeTransformer, x: Tensor) -> dict[str, np.ndarray]:
    """The experts that tokens int64[n, t] ask each layer for: layer0, layer1, ... -> int64[n * t * k].

    Requests in the order of the text, a token's best expert first; `winnow.workloads.traces.trace_table` makes of it
    what paging reads.
    """
    return {
        f"layer{index}": mixture.route(mixture_inputs(model, x, index)).chosen.flatten().numpy()
        for index, mixture in enumerate(model.mixtures())
    }


@torch.no_grad()
def scores_and_activity(mixture: MoEX, x: Tensor) -> tuple[Tensor, Tensor]:
    """Router scores and true counts of active units, each float[n, experts], of rows float[n, d]; all experts run."""
    active = [(mixture.hidden(expert, x) > 0).sum(1).float() for expert in range(mixture.experts)]
    return mixture.scores(x), torch.stack(active, dim=1)
