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
    values = list(gradients.values())
    norm = math.hypot(*map(float, torch._foreach_norm(values)))
    if norm > limit:
        torch._foreach_mul_(values, limit / norm)


def clip_each(gradients: dict[str, Tensor]) -> None:
    """`clip` of several dictionaries' gradients, whose first dimension says whose they are."""
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients.values()])
    factors = torch.tensor([1 / max(1.0, math.hypot(*parts)) for parts in norms.T.tolist()], dtype=norms.dtype)
    for gradient in gradients.values():
        gradient *= factors.view(-1, *[1] * (gradient.ndim - 1))


class Adam:
    """First and second moments of named parameters, and the number of steps taken.

    The moments of all parameters lie in one buffer, of which `first` and `second` are views: a small dictionary's step
    is bound by the number of tensor operations, not by their sizes.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        joined = torch.cat([parameter.flatten() for parameter in parameters.values()])
        self._first, self._second, self._denominator = (torch.zeros_like(joined) for _ in range(3))
        self.first, self.second, self._denominators = (
            _views(flat, parameters) for flat in (self._first, self._second, self._denominator)
        )
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
        gradient = torch.cat([gradients[name].flatten() for name in parameters])
        self._first.lerp_(gradient, 1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        torch.sqrt(self._second, out=self._denominator).div_(correction).add_(EPSILON)
        for name, parameter in parameters.items():
            rate = -size * (relative or {}).get(name, 1.0)
            parameter.addcdiv_(self.first[name], self._denominators[name], value=rate)

    def forget(self, rows: Tensor, names: tuple[str, ...]) -> None:
        """Zero the moments of some rows of the named parameters."""
        for name in names:
            self.first[name][rows] = 0.0
            self.second[name][rows] = 0.0


def _views(flat: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parts of a flat tensor in the shapes of the parameters, one after the other."""
    parts = flat.split([parameter.numel() for parameter in parameters.values()])
    return {name: part.view(parameters[name].shape) for name, part in zip(parameters, parts, strict=True)}
