"""What the paper measures of its framework: agreement, recovery, limits, losses and perturbation tests.

Han, Srinivas and Lakkaraju, "Which Explanation Should I Choose? A Function Approximation Perspective to Characterizing
Post Hoc Explanations", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from winnow.attribution.least_squares import weighted_least_squares
from winnow.attribution.perturbation import Function, predicted_class
from winnow.evaluate.explanation_choice import distances, losses, perturbation_test
from winnow.evaluate.local_approximation import METHODS, Explainer, Explanation, input_gradients
from winnow.evaluate.native_explanations import NATIVE
from winnow.evaluate.neighbourhoods import gaussian, masks, shrinking

Rows = list[dict[str, Any]]
Kind = Literal["binary", "continuous"]
End = Literal["bottom", "top"]
KINDS: tuple[Kind, ...] = ("binary", "continuous")
ENDS: tuple[End, ...] = ("bottom", "top")

SCALES = (0.3, 0.1, 0.03, 0.01, 0.003)
STARTS = (0.0, 0.25, 0.5, 0.75, 0.95)
"""Noise of SmoothGrad, and where integrated gradients start, on their way to the limit."""
MOST_STEPS = 16
"""Numbers of features that are perturbed, at most: an image has too many to try each."""


class Explained(NamedTuple):
    """Each method's weights at the same points, through the framework and by itself."""

    framework: dict[str, Explanation]
    native: dict[str, Tensor]


def standardised_part(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A model of tables cut in two: its encoder, and what maps encoded rows to outputs, both float64 copies.

    Without the scale of a regression's target, so that outputs are in its standard deviations.
    """
    parts = {name: deepcopy(module) for name, module in model.named_children() if name != "scale"}
    encoder = parts.pop("encoder")
    rest = nn.Sequential(*parts.values())
    return encoder.double().eval(), rest.double().eval().requires_grad_(False)


def rows_and_function(workload: Any, model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """What makes a workload's inputs rows float64[n, d], and the function of such rows that is explained.

    A table's rows are its encoded columns, an image's its standardised pixels: 0 is the mean of both.
    """
    if workload.kind == "table":
        return standardised_part(model)
    network = deepcopy(model).double().eval().requires_grad_(False)
    return nn.Flatten(), nn.Sequential(nn.Unflatten(1, workload.shape), network)


def explain_all(f: Function, x: Tensor, samples: int, seed: int) -> Explained:
    """All methods that f can be explained by: those that match gradients need one."""
    target = predicted_class(f, x)
    framework, native = {}, {}
    for name, method in METHODS.items():
        try:
            framework[name] = method.explain(f, x, samples, target, seed)
            native[name] = NATIVE[name](f, x, target, samples, seed)
        except TypeError:
            framework.pop(name, None)
    return Explained(framework, native)


def agreement(explained: Explained) -> Rows:
    """Mean distances of every method in the framework from every method by itself: kind, framework, native, value."""
    weights = {name: found.weights for name, found in explained.framework.items()}
    names = list(weights)
    return [
        {"kind": kind, "framework": a, "native": b, "value": float(found[i, j])}
        for kind in ("l1", "cosine")
        for found in [distances(weights, explained.native, kind)]
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]


def recovery(x: Tensor, y: Tensor, points: Tensor, samples: int, seed: int, classes: bool) -> Rows:
    """How far each method is from functions that it must recover: method, function, family, error.

    The functions are a linear one, fitted to rows x float64[n, d] and y float64[n], which is 0 or 1 for classes, and
    for classes the logistic one that touches it at a half. error: largest absolute one over the largest weight, at
    points float64[p, d].
    """
    ones = torch.ones(1, len(x), dtype=torch.float64)
    line = weighted_least_squares(x[None], y[None], ones, ridge=1e-3 * len(x))
    w, b = line.coefficients[0], line.bias[0]
    found = [
        {
            "method": name,
            "function": "linear",
            "family": "linear",
            "error": _off(method, lambda r: r @ w + b, w, points),
        }
        for name, method in METHODS.items()
    ]
    if classes:
        v, c = 4 * w, 4 * (b - 0.5)  # the slope of a sigmoid at its middle is a quarter
        for family in ("linear", "logistic"):
            method = Explainer(masks(), "squared", family)
            error = _off(method, lambda r: torch.sigmoid(r @ v + c), v, points, samples, seed)
            found.append({"method": "binary masks", "function": "logistic", "family": family, "error": error})
    return found


def _off(method: Explainer, f: Function, w: Tensor, points: Tensor, samples: int = 1000, seed: int = 0) -> float:
    found = method.explain(f, points, samples, seed=seed)
    truth = w if found.scale == "w" else w * points
    return float((found.weights - truth).abs().max() / w.abs().max())


def limits(f: Function, x: Tensor, samples: int, seed: int) -> Rows:
    """L1 distance from the limit on the way there: method, parameter, step, value."""
    target = predicted_class(f, x)
    gradient = input_gradients(f, x[:, None], target)[:, 0]
    rows = []
    for step, (scale, start) in enumerate(zip(SCALES, STARTS, strict=True)):
        for name, parameter, noise, limit in (
            ("smoothgrad", scale, gaussian(scale), gradient),
            ("integrated_gradients", start, shrinking(start), x * gradient),
        ):
            weights = Explainer(noise, "gradient").explain(f, x, samples, target, seed).weights
            value = float((weights - limit).abs().sum(1).mean())
            rows.append({"method": name, "parameter": parameter, "step": step, "value": value})
    return rows


def loss_matrix(f: Function, x: Tensor, framework: Mapping[str, Explanation], samples: int, seed: int) -> Rows:
    """Mean loss of every explanation in every neighbourhood: method, neighbourhood, value, excess, error.

    excess: by how much the neighbourhood's own method is above this one, 0 for itself; error: its standard error,
    of fresh draws and of the fit together.
    """
    target = predicted_class(f, x)
    rows = []
    for place in framework:
        by_draw = losses(f, x, framework, METHODS[place], samples, target, seed)
        own = list(framework).index(place)
        m = by_draw.shape[-1]
        fitted = float((framework[place].error ** 2).sum(1).nan_to_num().mean())
        for i, name in enumerate(framework):
            gap = by_draw[own] - by_draw[i]
            error = float((gap.var(-1) * m).sum().sqrt()) / len(x)
            rows.append(
                {
                    "method": name,
                    "neighbourhood": place,
                    "value": float(by_draw[i].sum(-1).mean()),
                    "excess": float(gap.sum(-1).mean()),
                    "error": error + fitted,
                }
            )
    return rows


def perturbations(f: Function, x: Tensor, native: Mapping[str, Tensor], noise: float, repeats: int, seed: int) -> Rows:
    """Mean change of f where k features are perturbed: method, kind, end, k, value."""
    rows = []
    for kind in KINDS:
        for end in ENDS:
            for k in tested(x.shape[1]):
                changed = changes(f, x, native, k, kind, end, noise, repeats, seed)
                rows += [
                    {"method": name, "kind": kind, "end": end, "k": k, "value": float(value.mean())}
                    for name, value in changed.items()
                ]
    return rows


def changes(
    f: Function,
    x: Tensor,
    native: Mapping[str, Tensor],
    k: int,
    kind: Kind,
    end: End,
    noise: float,
    repeats: int,
    seed: int,
) -> dict[str, Tensor]:
    """Change of f float64[n] at each point, by method, where k features are perturbed with the same draws."""
    options: dict[str, Any] = {"noise": noise, "repeats": repeats, "target": predicted_class(f, x), "seed": seed}
    return {name: perturbation_test(f, x, weights, k, kind, end, **options) for name, weights in native.items()}


def tested(features: int) -> list[int]:
    """Numbers of features that are perturbed: all from 1, or 16 evenly spread ones; half is always among them."""
    steps = torch.linspace(1, features, min(features, MOST_STEPS)).round().long().tolist()
    return sorted({*steps, max(1, features // 2)})
