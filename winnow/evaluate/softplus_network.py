"""A network of softplus units as a function of its parameters, fitted by L-BFGS. All numbers are float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from winnow.randomness import torch_generator

FIT_STEPS = 2000


def minimise(objective: Callable[[], Tensor], variables: Tensor, steps: int) -> None:
    """L-BFGS with a line search, in place."""
    optimizer = torch.optim.LBFGS(
        [variables],
        max_iter=steps,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    optimizer.step(closure)


@dataclass(frozen=True)
class SoftplusNetwork:
    """Two hidden layers of `width` centred softplus units, (softplus(beta z) - log 2) / beta; one output, the logit."""

    d: int
    width: int
    beta: float = 5.0

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of weights and biases, layer by layer."""
        w = self.width
        return [(w, self.d), (w,), (w, w), (w,), (1, w), (1,)]

    @property
    def parameters(self) -> int:
        """Numbers that are fitted."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs [..., n] of rows x [..., n, d] under parameters theta [..., p]; leading axes broadcast."""
        parts = theta.split([int(np.prod(shape)) for shape in self.shapes], dim=-1)
        w1, b1, w2, b2, w3, b3 = (
            part.unflatten(-1, shape if len(shape) == 2 else (1, *shape))
            for part, shape in zip(parts, self.shapes, strict=True)
        )
        hidden = self._activation(x @ w1.mT + b1)
        return (self._activation(hidden @ w2.mT + b2) @ w3.mT + b3).squeeze(-1)

    def _activation(self, z: Tensor) -> Tensor:
        return (torch.nn.functional.softplus(self.beta * z, threshold=50) - log(2)) / self.beta

    def penalty(self, ridge: float) -> Tensor:
        """[p]: ridge for weights, 0 for biases."""
        kinds = [torch.full(shape, ridge if len(shape) == 2 else 0.0, dtype=torch.float64) for shape in self.shapes]
        return torch.cat([kind.flatten() for kind in kinds])

    def initial(self, seed: int) -> Tensor:
        """[p]: Gaussian weights of variance 1 / inputs, biases of 0."""
        generator = torch_generator(seed, "softplus network")
        parts = []
        for shape in self.shapes:
            draw = torch.randn(shape, generator=generator, dtype=torch.float64)
            parts.append((draw / sqrt(shape[-1]) if len(shape) == 2 else 0 * draw).flatten())
        return torch.cat(parts)

    def fit(self, x: Tensor, y: Tensor, ridge: float, start: Tensor) -> Tensor:
        """Parameters [p] where L-BFGS ends, from `start`: mean log loss of the rows plus the penalty."""
        theta = start.clone().requires_grad_()
        signs, penalty = 1 - 2 * y, self.penalty(ridge)

        def objective() -> Tensor:
            losses = torch.nn.functional.softplus(signs * self(theta, x))
            return losses.mean() + (penalty * theta**2).sum() / 2

        minimise(objective, theta, FIT_STEPS)
        return theta.detach()

    def gradients(self, theta: Tensor, x: Tensor) -> Tensor:
        """Gradients of the output by the parameters: [n, p]."""
        return vmap(grad(lambda t, row: self(t, row[None])[0]), in_dims=(None, 0))(theta, x)
