"""Networks of which it is known what in them is free, and networks of modules that do not interact."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from winnow.dictionaries.interaction_basis import (
    LayerDegeneracy,
    behavioural_hessian,
    behavioural_jacobian,
    degeneracy_report,
    effective_parameters,
)
from winnow.randomness import torch_generator

KINDS = ("plain", "dependent inputs", "duplicated", "silent", "synchronised", "always on", "everything")
SPREAD = 6.0  # of the two clusters


class Planted(NamedTuple):
    """A network of 6, 8, 8 and 3 units, and rows float64[n, 6]."""

    model: nn.Sequential
    x: Tensor


class Counts(NamedTuple):
    """Free directions as the report predicts them, and as the behaviour shows them."""

    layers: list[LayerDegeneracy]
    predicted: int
    counted: int
    counted_in_hessian: int


def planted_network(kind: str, seed: int, rows: int = 600) -> Planted:
    """A network with the kind of degeneracy named, and nothing else that is degenerate by construction.

    Every unit that is not planted otherwise fires on about half of the rows.
    """
    generator = torch_generator(seed, "planted degeneracy", kind)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    direction = torch.nn.functional.normalize(normal(6), dim=0)
    x = normal(rows, 6)
    if kind in ("dependent inputs", "everything"):
        x = x @ torch.linalg.qr(torch.cat([direction[:, None], normal(6, 3)], dim=1)).Q @ normal(4, 6)
        direction = torch.nn.functional.normalize(torch.linalg.svd(x, full_matrices=False).Vh[0], dim=0)
    first, second, third = normal(8, 6), normal(8, 8), normal(3, 8)
    if kind in ("synchronised", "everything"):
        # Two clusters far apart along a direction; three units read little else and fire on one of them.
        signs = torch.randint(2, (rows, 1), generator=generator).double() * 2 - 1
        x = x - 0.9 * (x @ direction)[:, None] * direction + SPREAD * signs * direction
        first = first - (first @ direction)[:, None] * direction * 0.98
        first[:3] = direction * (1 + torch.rand(3, 1, generator=generator)) + 0.05 * normal(3, 6)
        second[:, :3] *= 0.02  # so that the next units fire in both clusters
    if kind in ("duplicated", "everything"):
        first[4] = 1.7 * first[3]
    bias = -(x @ first.T).median(0).values
    if kind in ("synchronised", "everything"):
        bias[:3] = 0
    if kind == "silent":
        bias[5] = -(x @ first[5]).max() - 1
    if kind == "always on":
        bias[5:7] = 1 - (x @ first[5:7].T).min(0).values
    hidden = (x @ first.T + bias).relu()
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    values = (first, bias, second, -(hidden @ second.T).median(0).values, third, normal(3))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(value)
    return Planted(model, x)


def counts(planted: Planted, tolerance: float = 1e-10) -> Counts:
    """Predicted and counted free directions; the tolerance is of singular values of the Jacobian, relative."""
    layers = degeneracy_report(planted.model, planted.x)
    singular = torch.linalg.svdvals(behavioural_jacobian(planted.model, planted.x))
    size = sum(parameter.numel() for parameter in planted.model.parameters())
    eigenvalues = torch.linalg.eigvalsh(behavioural_hessian(planted.model, planted.x))
    return Counts(
        layers,
        sum(layer.predicted_null for layer in layers),
        size - int((singular > tolerance * singular[0]).sum()),
        size - effective_parameters(eigenvalues, 1e-13),
    )


def modular_parts(modules: int, width: int, seed: int) -> tuple[list[nn.Sequential], Tensor, Tensor]:
    """Networks side by side, with the inputs and what lies between the two parts turned, so that no module shows.

    Returns the parts, each two matrices with a ReLU between, rows float64[1000, modules * width], and the module of
    each output int64[modules * width].
    """
    generator = torch_generator(seed, "planted modules")
    size = modules * width

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    turns = [torch.linalg.qr(normal(size, size)).Q for _ in range(2)]
    after = [turns[1], torch.eye(size).double()]
    x, parts = normal(1000, size), []
    for number in range(2):
        first, second = (torch.block_diag(*normal(modules, width, width)) for _ in range(2))
        part = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)).double().requires_grad_(False)
        values = (first @ turns[number].T, normal(size), after[number] @ second, torch.zeros(size).double())
        for parameter, value in zip(part.parameters(), values, strict=True):
            parameter.copy_(value)
        parts.append(part)
    return parts, x @ turns[0].T, torch.arange(size) // width
