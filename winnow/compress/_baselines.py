"""What pruning methods are compared with: scores per weight, the higher the longer it is kept.

Each goes through `masks_from_scores` like the magnitude does, so all keep exactly the same number of weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from winnow.compress._masking import apply_masks, prunable_weights
from winnow.errors import InputError

TEMPERATURE = 200.0
"""Of the logits in GraSP, in the authors' code."""
SYNFLOW_ROUNDS = 100


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


def grasp_scores(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """theta * (H g): how much gradient flow the weight takes part in (Wang, Zhang, Grosse, "Picking Winning Tickets
    Before Training by Preserving Gradient Flow", ICLR 2020).

    loss(model) -> the loss whose gradient g and Hessian H are meant; the model is called in eval mode, its logits
    divided by 200. Negative where the flow rises without the weight.
    """
    cooled = _Cooled(copy.deepcopy(model).eval())
    weights = prunable_weights(cooled.model)
    with sdpa_kernel(SDPBackend.MATH):  # other kernels of attention have no second derivative
        gradients = weight_gradients(loss(cooled), weights, create_graph=True)
    flow = torch.stack([(gradient * gradient.detach()).sum() for gradient in gradients.values()]).sum()
    products = torch.autograd.grad(flow, list(weights.values()))  # H g
    return {name: w.detach() * hg for (name, w), hg in zip(weights.items(), products, strict=True)}


def synflow_scores(model: nn.Module, example: Tensor, keep: float, rounds: int = SYNFLOW_ROUNDS) -> dict[str, Tensor]:
    """|theta| * dR/d|theta|, R the sum of outputs on an input of ones of the net with magnitudes for parameters.

    Tanaka, Kunin, Yamins, Ganguli, "Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic Flow",
    NeurIPS 2020. In round k of `rounds` the share keep^(k / rounds) is left, and the last round's scores count; what
    went before scores 0. example: inputs [n, ...], of which only the shape counts. The model is called in eval mode
    and double precision. Raises InputError for tokens: flow is counted from numbers, and the softmax and norms
    between their embeddings and the outputs do not conserve it.
    """
    if not example.is_floating_point():
        raise InputError("synflow: the model takes tokens, where flow begins at numbers; choose another method")
    linear = copy.deepcopy(model).double().eval()
    for parameter in linear.parameters():
        parameter.data.abs_()
    weights, ones = prunable_weights(linear), torch.ones_like(example[:1], dtype=torch.float64)
    scores = {name: torch.ones_like(weight) for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    for number in range(1, rounds + 1):
        gradients = torch.autograd.grad(linear(ones).sum(), list(weights.values()))
        scores = {name: w.detach() * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
        gone = total - round(keep ** (number / rounds) * total)
        if number < rounds and gone:
            threshold = torch.cat([score.flatten() for score in scores.values()]).kthvalue(gone).values
            apply_masks(linear, {name: score > threshold for name, score in scores.items()})
    return scores


def weight_gradients(loss: Tensor, weights: dict[str, Tensor], *, create_graph: bool = False) -> dict[str, Tensor]:
    """Gradient of a loss to each weight; raises InputError where one takes no part in it that can be differentiated."""
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph, allow_unused=True)
    known = {name: gradient for name, gradient in zip(weights, found, strict=True) if gradient is not None}
    if len(known) < len(weights):
        name = next(name for name in weights if name not in known)
        raise InputError(f"{name}: decides without a gradient, as routers do; choose a method that needs none")
    return known


class _Cooled(nn.Module):
    """A model whose logits are divided by the temperature."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits / TEMPERATURE


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
