"""Eight explanations, each by itself as its own authors define it: what the framework of local fits must agree with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from winnow.attribution.perturbation import (
    Function,
    c_lime,
    kernel_shap,
    lime,
    occlusion,
)
from winnow.evaluate.local_approximation import input_gradients
from winnow.evaluate.neighbourhoods import (
    SCALE,
)
from winnow.randomness import torch_generator

STEPS = 200
"""Steps of integrated gradients, by the midpoint rule."""
Native = Callable[[Function, Tensor, Tensor | None, int, int], Tensor]
"""(f, x[n, d], target, samples, seed) -> weights float64[n, d]."""


def _shrunken(f: Function, x: Tensor, target: Tensor | None) -> Tensor:
    share = ((torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS)[None, :, None]
    return x * input_gradients(f, share * x[:, None], target).mean(1)


def _smoothed(f: Function, x: Tensor, target: Tensor | None, samples: int, seed: int) -> Tensor:
    noise = torch.randn(len(x), samples, x.shape[1], generator=torch_generator(seed, "native"), dtype=torch.float64)
    return input_gradients(f, x[:, None] + SCALE * noise, target).mean(1)


def _generator(seed: int) -> torch.Generator:
    return torch_generator(seed, "native")


NATIVE: dict[str, Native] = {
    "lime": lambda f, x, t, m, s: lime(f, x, samples=m, target=t, generator=_generator(s)).coefficients,
    "kernel_shap": lambda f, x, t, m, s: kernel_shap(f, x, samples=m, target=t, generator=_generator(s)).coefficients,
    "occlusion": lambda f, x, t, m, s: occlusion(f, x, target=t),
    "c_lime": lambda f, x, t, m, s: (
        c_lime(f, x, scale=SCALE, samples=m, target=t, generator=_generator(s)).coefficients
    ),
    "smoothgrad": _smoothed,
    "gradient": lambda f, x, t, m, s: input_gradients(f, x[:, None], t)[:, 0],
    "integrated_gradients": lambda f, x, t, m, s: _shrunken(f, x, t),
    "gradient_input": lambda f, x, t, m, s: x * input_gradients(f, x[:, None], t)[:, 0],
}
"""The same eight without the framework, each as its own authors define it."""
