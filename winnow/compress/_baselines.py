"""What global magnitude pruning is compared with: scores per weight, the higher the longer it is kept.

Each goes through `masks_from_scores` like the magnitude does, so all keep exactly the same number of weights.
"""

from __future__ import annotations

import torch
from torch import Tensor


def uniform_scores(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores whose threshold keeps the same share of every layer, its largest magnitudes."""
    return {name: -_quantiles(w) for name, w in weights.items()}


def erk_scores(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores whose threshold keeps Erdos-Renyi-kernel densities, min(1, c * sum(shape) / prod(shape)).

    Evci et al., "Rigging the Lottery", ICML 2020. One c for all layers: the threshold finds it, and the
    layers that it makes dense, without the iteration of the authors' code.
    """
    return {name: -_quantiles(w) * w.numel() / sum(w.shape) for name, w in weights.items()}


def lamp_scores(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """w^2 over the sum of all squares of the layer that are not smaller, itself among them.

    Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021.
    """
    return {name: _lamp(w.detach().double().flatten()).view(w.shape) for name, w in weights.items()}


def snip_scores(weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """|g * w|, what the loss loses to first order (Lee et al., "SNIP", ICLR 2019)."""
    return {name: (gradients[name] * w).detach().abs() for name, w in weights.items()}


def random_scores(weights: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform noise: the floor of every comparison."""
    return {name: torch.rand(w.shape, generator=generator, dtype=torch.float64) for name, w in weights.items()}


def _quantiles(weight: Tensor) -> Tensor:
    """Rank of each magnitude, the largest first, as a share of the layer in (0, 1)."""
    magnitude = weight.detach().abs().flatten()
    ranks = torch.empty(magnitude.numel(), dtype=torch.float64)
    order = torch.sort(magnitude, descending=True, stable=True).indices
    ranks[order] = (torch.arange(magnitude.numel(), dtype=torch.float64) + 0.5) / magnitude.numel()
    return ranks.view(weight.shape)


def _lamp(weight: Tensor) -> Tensor:
    square = weight**2
    order = torch.sort(square, descending=True, stable=True).indices
    score = torch.empty_like(square)
    # Where the sum is 0 so is the weight: 0 / 0 means the layer has nothing worth keeping there.
    ratio = square[order] / square[order].cumsum(0)
    score[order] = torch.where(square[order] == 0, 0.0, ratio)
    return score
