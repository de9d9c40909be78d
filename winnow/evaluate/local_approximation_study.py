"""What the paper measures of its framework: agreement, recovery, limits, losses and perturbation tests.

Han, Srinivas and Lakkaraju, "Which Explanation Should I Choose? A Function Approximation Perspective to Characterizing
Post Hoc Explanations", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from winnow.attribution.least_squares import weighted_least_squares
from winnow.attribution.perturbation import Function, predicted_class
from winnow.evaluate.explanation_choice import distances, losses, perturbation_test
from winnow.evaluate.local_approximation import (
    ADDITIVE,
    METHODS,
    MULTIPLICATIVE,
    NATIVE,
    Explainer,
    Explanation,
    input_gradients,
)
from winnow.evaluate.local_solvers import logistic_fit
from winnow.evaluate.neighbourhoods import gaussian, masks, shrinking

Rows = list[dict[str, Any]]

SCALES = (0.3, 0.1, 0.03, 0.01, 0.003)
STARTS = (0.0, 0.25, 0.5, 0.75, 0.95)
"""Noise of SmoothGrad, and where integrated gradients start, on their way to the limit."""
EQUAL = {frozenset({"c_lime", "smoothgrad"})}
"""Pairs that agree in expectation, so that which of the two is nearer is chance."""


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


def own_and_nearest_other(rows: Rows, method: str, kind: str) -> tuple[float, float]:
    """A method's distance from itself, and the least one from any other, in either form."""
    own, others = float("nan"), []
    for row in rows:
        pair = {row["framework"], row["native"]}
        if row["kind"] != kind or method not in pair:
            continue
        if len(pair) == 1:
            own = row["value"]
        elif frozenset(pair) not in EQUAL:
            others.append(row["value"])
    return own, min(others)


def recovery(x: Tensor, y: Tensor, points: Tensor, samples: int, seed: int, classes: bool) -> Rows:
    """How far each method is from functions that it must recover: method, function, family, error.

    The functions are a linear and, for classes, a logistic one, fitted to rows x float64[n, d] and y float64[n], which
    is 0 or 1 for classes. error: largest absolute one over the largest weight, at points float64[p, d].
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
        curve = logistic_fit(x[None], 0.1 + 0.8 * y[None], ones)
        v, c = curve.coefficients[0], curve.bias[0]
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


def monotone(rows: Rows, method: str) -> float:
    """Spearman's correlation of step and distance: -1 where every step is nearer to the limit."""
    found = [(row["step"], row["value"]) for row in rows if row["method"] == method]
    return float(spearmanr(*zip(*found, strict=True)).statistic)


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


def worst_excess(rows: Rows, neighbourhood: str) -> float:
    """By how many standard errors the neighbourhood's own method is above the best of the others; negative below."""
    found = [
        row["excess"] / max(row["error"], 1e-9 * row["value"], 1e-12)  # equal methods differ in the last bits
        for row in rows
        if row["neighbourhood"] == neighbourhood and row["method"] != neighbourhood
    ]
    return max(found)


def perturbations(f: Function, x: Tensor, native: Mapping[str, Tensor], noise: float, repeats: int, seed: int) -> Rows:
    """Mean change of f where k features are perturbed: method, kind, end, k, value."""
    target = predicted_class(f, x)
    rows = []
    for name, weights in native.items():
        for kind in ("binary", "continuous"):
            for end in ("bottom", "top"):
                for k in range(1, x.shape[1] + 1):
                    changed = perturbation_test(
                        f,
                        x,
                        weights,
                        k,
                        kind,
                        end,
                        noise=noise,
                        repeats=repeats,
                        target=target,
                        seed=seed,
                    )
                    rows.append({"method": name, "kind": kind, "end": end, "k": k, "value": float(changed.mean())})
    return rows


def group_gap(rows: Rows, kind: str, k: int) -> tuple[float, float]:
    """The worst of the group that should win and the best of the other, perturbing the k least features.

    Methods of multiplicative noise should win where features are removed, those of additive noise where noise is
    added.
    """
    winners, others = (MULTIPLICATIVE, ADDITIVE) if kind == "binary" else (ADDITIVE, MULTIPLICATIVE)
    at = {row["method"]: row["value"] for row in rows if (row["kind"], row["end"], row["k"]) == (kind, "bottom", k)}
    return max(at[name] for name in winners), min(at[name] for name in others)


def attributions(explained: Explained) -> Rows:
    """All weights: method, form, row, feature, weight, error; the methods by themselves give no error."""
    rows = []
    for name, found in explained.framework.items():
        for form, weights, errors in (
            ("framework", found.weights, found.error),
            ("native", explained.native[name], torch.full_like(found.weights, float("nan"))),
        ):
            rows += [
                {
                    "method": name,
                    "form": form,
                    "row": i,
                    "feature": j,
                    "weight": float(weights[i, j]),
                    "error": None if errors[i, j].isnan() else float(errors[i, j]),
                }
                for i in range(weights.shape[0])
                for j in range(weights.shape[1])
            ]
    return rows


def summary(tables: Mapping[str, Rows], blind: Explained, features: int) -> list[tuple[str, str, dict[str, float]]]:
    """What claims are judged by: (system, variant, metric -> value).

    blind: explanations of a model without gradients.
    """
    found: list[tuple[str, str, dict[str, float]]] = []
    for method in METHODS:
        for kind in ("l1", "cosine"):
            own, other = own_and_nearest_other(tables["distances"], method, kind)
            found += [
                (method, "own", {f"distance_{kind}": own}),
                (method, "nearest_other", {f"distance_{kind}": other}),
            ]
        found.append((method, "own", {"excess_loss": worst_excess(tables["losses"], method)}))
        found.append((method, "without_gradients", {"explained": float(method in blind.native)}))
    for row in tables["recovery"]:
        found.append((row["method"], f"{row['function']}_by_{row['family']}", {"recovery_error": row["error"]}))
    for method in ("smoothgrad", "integrated_gradients"):
        found.append((method, "limits", {"spearman": monotone(tables["limits"], method)}))
    for kind, group in (("binary", "multiplicative"), ("continuous", "additive")):
        own, other = group_gap(tables["perturbation"], kind, max(1, features // 2))
        found += [(group, kind, {"output_change": own}), ("other", kind, {"output_change": other})]
    return found
