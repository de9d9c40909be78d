"""Noise around an input: where an explanation looks, and how much each place counts.

The cases of Han, Srinivas and Lakkaraju, "Which Explanation Should I Choose? A Function Approximation Perspective to
Characterizing Post Hoc Explanations", NeurIPS 2022, and a neighbourhood made of other rows of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from winnow.attribution.perturbation import WIDTH, exponential_kernel, random_masks
from winnow.errors import InputError

SCALE = 0.1
"""Standard deviation of the authors' additive noise, on standardised inputs."""

Draw = Callable[[Tensor, int, torch.Generator], Tensor]
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x[n, d], z[n, m, d], inputs[n, m, d]) -> weights float64[n, m]."""


@dataclass(frozen=True)
class Noise:
    """A distribution of perturbed inputs around x."""

    name: str
    kind: Literal["additive", "multiplicative", "removal"]
    """Input: x + z, or x z + baseline (1 - z), or x (1 - z) + baseline z, where f's loss is what is explained."""
    draw: Draw
    """(x[n, d], samples, generator) -> z float64[n, m, d]."""
    baseline: Callable[[Tensor, Tensor, torch.Generator], Tensor] | None = None
    """(x, z, generator) -> what takes the place of x, broadcasting to z; None is the centre."""
    centre: Tensor | float = 0.0
    """Mean of the baseline: a number or float64[d]."""
    features: int | None = None
    """Number of features that the noise is for; None for any."""
    random: bool = True
    """Whether the draws are random; weights fitted to the same draws each time have no error."""

    @property
    def scale(self) -> Literal["w", "wx"]:
        """Of the weights that are fitted over this noise."""
        return "w" if self.kind == "additive" else "wx"


def masks(share: float = 0.5) -> Noise:
    """Every feature is kept with probability `share`, else 0."""
    return Noise("masks", "multiplicative", lambda x, m, g: random_masks((len(x), m, x.shape[1]), g, share))


def sized_masks() -> Noise:
    """Masks that keep some features and drop some: first how many, all numbers alike, then which.

    Masks that are all equally likely would nearly all keep half of many features, where Shapley's kernel is lowest.
    """

    def draw(x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        n, d = x.shape
        if d < 2:
            raise InputError(f"features: there is {d}; masks that keep some and drop some need 2 at least")
        sizes = torch.randint(1, d, (n, samples, 1), generator=generator)
        ranks = torch.rand(n, samples, d, generator=generator, dtype=torch.float64).argsort(-1).argsort(-1)
        return (ranks < sizes).double()

    return Noise("sized_masks", "multiplicative", draw)


def one_at_a_time() -> Noise:
    """Each feature is removed once, by itself."""

    def draw(x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return torch.eye(x.shape[1], dtype=x.dtype).repeat(len(x), 1, 1)

    return Noise("one_at_a_time", "removal", draw, random=False)


def gaussian(scale: float = SCALE, covariance: Tensor | None = None) -> Noise:
    """x + N(0, scale^2 C); C is the identity, or a covariance [d, d]."""
    root = None if covariance is None else torch.linalg.cholesky(covariance.double())

    def draw(x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(len(x), samples, x.shape[1], generator=generator, dtype=torch.float64) * scale
        return z if root is None else z @ root.mT

    return Noise(f"gaussian {scale:g}", "additive", draw, features=None if root is None else len(root))


def shrinking(low: float = 0.0, high: float = 1.0) -> Noise:
    """a x with one a ~ U(low, high) for all features together."""

    def draw(x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        a = torch.rand(len(x), samples, 1, generator=generator, dtype=torch.float64)
        return (low + (high - low) * a).expand(-1, -1, x.shape[1])

    return Noise(f"shrinking {low:g} {high:g}", "multiplicative", draw)


def replacement(reference: Tensor, share: float = 0.5) -> Noise:
    """Masked features take the values that a random row of reference float64[r, d] has there."""

    def rows(x: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        return reference[torch.randint(len(reference), z.shape[:2], generator=generator)]

    return replace(
        masks(share), name="replacement", baseline=rows, centre=reference.mean(0), features=reference.shape[1]
    )


def near(x: Tensor, z: Tensor, inputs: Tensor) -> Tensor:
    """LIME's kernel: exponential in the distance, of width .75 sqrt(d)."""
    return exponential_kernel(x, inputs, WIDTH * x.shape[1] ** 0.5)


def by_size(x: Tensor, z: Tensor, inputs: Tensor) -> Tensor:
    """Shapley's kernel over the chance that `sized_masks` draws a mask with, 1 / ((d - 1) C(d, m))."""
    d, m = x.shape[1], z.sum(-1)
    return (d - 1) ** 2 / (m * (d - m))
