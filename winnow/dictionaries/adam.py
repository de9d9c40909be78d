"""Adam (Kingma and Ba, 2015) in plain tensor operations.

torch.optim.Adam takes the same steps, but making one imports torch's compiler: 1.5 s that a short fit would
pay.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def clip(gradients: dict[str, Tensor], limit: float = 1.0) -> None:
    """Scale all gradients in place so that their joint norm is at most `limit`."""
    norm = math.hypot(*(float(torch.linalg.vector_norm(gradient)) for gradient in gradients.values()))
    if norm > limit:
        for gradient in gradients.values():
            gradient *= limit / norm


class Adam:
    """First and second moments of named parameters, and the number of steps taken."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self.first = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        self.second = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        self.steps = 0

    def step(
        self,
        parameters: dict[str, Tensor],
        gradients: dict[str, Tensor],
        lr: float,
        relative: dict[str, float] | None = None,
    ) -> None:
        """Move the parameters in place by about lr, times the factor that `relative` gives a name."""
        self.steps += 1
        size = lr / (1 - BETAS[0] ** self.steps)
        correction = math.sqrt(1 - BETAS[1] ** self.steps)
        for name, parameter in parameters.items():
            gradient = gradients[name]
            self.first[name].lerp_(gradient, 1 - BETAS[0])
            self.second[name].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            denominator = self.second[name].sqrt().div_(correction).add_(EPSILON)
            parameter.addcdiv_(self.first[name], denominator, value=-size * (relative or {}).get(name, 1.0))

    def forget(self, rows: Tensor, names: tuple[str, ...]) -> None:
        """Zero the moments of some rows of the named parameters."""
        for name in names:
            self.first[name][rows] = 0.0
            self.second[name][rows] = 0.0
