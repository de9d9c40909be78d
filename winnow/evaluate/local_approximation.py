"""Explanations as local function approximation: one objective, of which eight known methods are cases.

An explanation of f at x is the g of a simple class that is nearest to f over a neighbourhood of x: g minimises the mean
over noise z of loss(f, g, x, z). Han, Srinivas and Lakkaraju, "Which Explanation Should I Choose? A Function
Approximation Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022.

Additive noise x + z gives weights of the scale of a gradient ("w"); multiplicative noise x z gives weights times input
("wx"). The two are converted before they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from winnow.attribution.least_squares import Fit, weighted_least_squares
from winnow.attribution.perturbation import (
    ENTRIES_PER_CALL,
    Function,
    chosen_output,
    evaluate,
    predicted_class,
)
from winnow.errors import InputError
from winnow.evaluate.local_solvers import adam_grid, logistic_fit, mean_gradients
from winnow.evaluate.neighbourhoods import (
    Kernel,
    Noise,
    by_size,
    gaussian,
    masks,
    near,
    one_at_a_time,
    shrinking,
    sized_masks,
)
from winnow.randomness import torch_generator

LIMIT = 1e-3
"""How near the limits 0 and 1 stand in for them."""
RECOVERED = 1e-6


@dataclass(frozen=True)
class Explanation:
    """What g is at each of n points."""

    weights: Tensor
    """float64[n, d]"""
    bias: Tensor
    """float64[n]; 0 where the loss says nothing of it."""
    loss: Tensor
    """float64[n], over the draws that g was fitted to."""
    error: Tensor
    """float64[n, d] standard errors of the weights."""
    span: Tensor
    """float64[n, d]: x less its baseline, by which weights of scale "wx" exceed those of scale "w"."""
    scale: Literal["w", "wx"]
    effective_samples: Tensor
    """float64[n]"""


@dataclass(frozen=True)
class Neighbourhood:
    """Draws around n points and what f does there."""

    z: Tensor
    """[n, m, d]"""
    weights: Tensor
    """[n, m]"""
    values: Tensor
    """[n, m]"""
    gradients: Tensor | None
    """[n, m, d] with respect to z."""
    ends: tuple[Tensor, Tensor] | None
    """f where nothing and where everything is shown, for g that must agree there."""


@dataclass(frozen=True)
class Explainer:
    """One way to explain: where to look, what to match there, and with what."""

    noise: Noise
    loss: Literal["squared", "gradient"] = "squared"
    family: Literal["linear", "logistic"] = "linear"
    kernel: Kernel | None = None
    """Weights of draws; None weighs all alike."""
    bias: bool = True
    anchored: bool = False
    """Whether g equals f where nothing and where everything is shown."""
    solver: Literal["exact", "adam"] = "exact"

    def explain(
        self, f: Function, x: Tensor, samples: int = 1000, target: Tensor | None = None, seed: int = 0
    ) -> Explanation:
        """Fit g around each row of x float64[n, d].

        target: int64[n], the output explained; None is the largest. Raises TypeError where gradients are matched and
        f has none, InputError where the draws do not determine g.
        """
        x = x.double()
        target = predicted_class(f, x) if target is None else target
        here = self.neighbourhood(f, x, samples, target, torch_generator(seed, "local approximation", self.noise.name))
        fit = self._fit(here, torch_generator(seed, "local approximation", "adam"))
        error = fit.error if self.noise.random else torch.zeros_like(fit.error)
        span = x - self.noise.centre
        ess = fit.effective_samples.expand(len(x))
        return Explanation(fit.coefficients, fit.bias, fit.loss, error, span, self.noise.scale, ess)

    def neighbourhood(
        self, f: Function, x: Tensor, samples: int, target: Tensor | None, generator: torch.Generator
    ) -> Neighbourhood:
        """Draw around x float64[n, d] and evaluate f there."""
        noise = self.noise
        if noise.features not in (None, x.shape[1]):
            raise InputError(f"noise {noise.name} is for {noise.features} features and there are {x.shape[1]}")
        z = noise.draw(x, samples, generator)
        base = noise.centre if noise.baseline is None else noise.baseline(x, z, generator)
        span = torch.ones_like(x)[:, None] if noise.kind == "additive" else x[:, None] - base
        start = x[:, None] - span if noise.kind == "multiplicative" else x[:, None]
        inputs = start - z * span if noise.kind == "removal" else start + z * span
        values = evaluate(f, x, inputs, _as_drawn, target)
        if noise.kind == "removal":
            values = evaluate(f, x, x[:, None], _as_drawn, target) - values
        # What is matched is the derivative by z, of the loss of f where z removes.
        gradients = input_gradients(f, inputs, target) * span if self.loss == "gradient" else None
        weights = torch.ones(z.shape[:2], dtype=x.dtype) if self.kernel is None else self.kernel(x, z, inputs)
        ends = None
        if self.anchored:
            shown = evaluate(f, x, torch.stack([x * 0 + noise.centre, x], dim=1), _as_drawn, target)
            ends = shown[:, 0], shown[:, 1]
        return Neighbourhood(z, weights, values, gradients, ends)

    def _fit(self, here: Neighbourhood, generator: torch.Generator) -> Fit:
        z, values, weights = here.z, here.values, here.weights
        if self.solver == "adam":
            logistic = self.family == "logistic"
            return adam_grid(
                z, values, weights, bias=self.bias, logistic=logistic, gradients=here.gradients, generator=generator
            )
        if self.family == "logistic":
            return logistic_fit(z, values, weights, bias=self.bias, gradients=here.gradients)
        if here.gradients is not None:
            return mean_gradients(here.gradients, weights)
        if here.ends is None:
            return weighted_least_squares(z, values, weights, bias=self.bias)
        empty, full = here.ends
        whole = (torch.ones(1, z.shape[-1], dtype=z.dtype), (full - empty)[:, None])
        fit = weighted_least_squares(z, values - empty[:, None], weights, bias=False, constraint=whole)
        return fit._replace(bias=empty)


def _as_drawn(x: Tensor, inputs: Tensor) -> Tensor:
    return inputs


def input_gradients(f: Function, inputs: Tensor, target: Tensor | None) -> Tensor:
    """float64[n, m, d]: gradients of f at inputs [n, m, d], in calls of many rows; TypeError where f has none."""
    n, m, d = inputs.shape
    found = []
    for index in torch.arange(n * m).split(max(1, ENTRIES_PER_CALL // d)):
        rows = inputs.reshape(n * m, d)[index].detach().requires_grad_()
        outputs = chosen_output(f(rows), None if target is None else target[index // m])
        if not outputs.requires_grad:
            raise TypeError("the function has no gradient with respect to its input; choose a method that needs none")
        found.append(torch.autograd.grad(outputs.sum(), rows)[0])
    return torch.cat(found).view(n, m, d)


METHODS: dict[str, Explainer] = {
    "lime": Explainer(masks(), kernel=near),
    "kernel_shap": Explainer(sized_masks(), kernel=by_size, bias=False, anchored=True),
    "occlusion": Explainer(one_at_a_time(), bias=False),
    "c_lime": Explainer(gaussian()),
    "smoothgrad": Explainer(gaussian(), "gradient"),
    "gradient": Explainer(gaussian(LIMIT), "gradient"),
    "integrated_gradients": Explainer(shrinking(), "gradient"),
    "gradient_input": Explainer(shrinking(1 - LIMIT), "gradient"),
}
"""The paper's Table 1. The last limits, s -> 0 and u -> 1, are taken at 1e-3 from them."""

MULTIPLICATIVE = tuple(name for name, method in METHODS.items() if method.noise.scale == "wx")
ADDITIVE = tuple(name for name in METHODS if name not in MULTIPLICATIVE)


def design(
    noise: Noise,
    loss: Literal["squared", "gradient"] = "squared",
    family: Literal["linear", "logistic"] = "linear",
    *,
    kernel: Kernel | None = None,
    bias: bool = True,
    samples: int = 1000,
) -> Explainer:
    """An explainer for a neighbourhood of one's own, if it passes the test of the paper's guiding principle.

    The test: where f is itself of the family, g must be f, for three random f and points. Raises InputError with the
    largest error where it is not.
    """
    made = Explainer(noise, loss, family, kernel, bias)
    generator = torch_generator(0, "design")
    d = noise.features or 5
    x, w = torch.randn(2, 3, d, generator=generator, dtype=torch.float64)
    for i in range(3):
        line = (lambda rows, i=i: rows @ w[i] + 0.3) if bias else (lambda rows, i=i: rows @ w[i])
        f = line if family == "linear" else lambda rows, line=line: torch.sigmoid(line(rows))
        reason = f"noise {noise.name} with loss {loss}: a {family} function is not recovered"
        try:
            found = made.explain(f, x[i : i + 1], samples)
        except InputError as error:
            raise InputError(f"{reason} ({error})") from error
        truth = w[i] if found.scale == "w" else w[i] * found.span[0]
        off = (found.weights[0] - truth).abs()
        # Where even the baseline is drawn, a fit to finitely many draws is off by its error.
        if (off > RECOVERED * truth.abs().max() + 5 * found.error[0]).any():
            raise InputError(f"{reason} (off by {float(off.max()):.2g}); let the noise move each feature by itself")
    return made
