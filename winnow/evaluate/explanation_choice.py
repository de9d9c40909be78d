"""Which explanation to choose: its loss in the neighbourhood one cares about, and what perturbing by it does.

Han, Srinivas and Lakkaraju, "Which Explanation Should I Choose? A Function Approximation Perspective to Characterizing
Post Hoc Explanations", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.attribution.perturbation import Function, evaluate, predicted_class
from winnow.errors import InputError
from winnow.evaluate.local_approximation import METHODS, Explainer, Explanation
from winnow.evaluate.neighbourhoods import Noise
from winnow.randomness import torch_generator

TIED = 2.0
"""Standard errors within which two mean losses count as equal."""


def slopes(explanation: Explanation, x: Tensor, noise: Noise) -> Tensor:
    """Weights float64[n, d] of an explanation with respect to a noise's z.

    Weights of scale "wx" are those of a gradient times the span, x less its baseline, and are carried over by it. A
    feature whose span is 0 cannot be told from "wx" and gets 0.
    """
    if explanation.scale == noise.scale == "w":
        return explanation.weights
    span = torch.ones_like(x) if noise.scale == "w" else x - noise.centre
    own = torch.ones_like(x) if explanation.scale == "w" else explanation.span
    ratio = torch.where(own == 0, 0.0, span / torch.where(own == 0, 1.0, own))
    return explanation.weights * torch.where(own == span, 1.0, ratio)


def losses(
    f: Function,
    x: Tensor,
    explanations: Mapping[str, Explanation],
    explainer: Explainer,
    samples: int = 1000,
    target: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """float64[explanations, n, m]: what each draw adds to the loss that linear explanations have in a neighbourhood.

    The neighbourhood is the explainer's; its draws are others than those that were fitted. Explanations count as
    members of the explainer's class: with the best bias, or, where g is anchored, moved onto the constraint by the
    shortest way, so that slopes alone are judged. Summed over draws they are losses. Raises InputError for an
    explainer of another family.
    """
    if explainer.family != "linear":
        raise InputError("loss: explanations of linear functions cannot be judged in a logistic family; use linear")
    x = x.double()
    target = predicted_class(f, x) if target is None else target
    generator = torch_generator(seed, "faithfulness", explainer.noise.name)
    here = explainer.neighbourhood(f, x, samples, target, generator)
    share = here.weights / here.weights.sum(1, keepdim=True)
    found = []
    for explanation in explanations.values():
        w = slopes(explanation, x, explainer.noise)
        if here.gradients is not None:
            found.append(share * ((here.gradients - w[:, None]) ** 2).sum(-1))
            continue
        values = here.values
        if here.ends is not None:
            empty, full = here.ends
            w = w + ((full - empty) - w.sum(1))[:, None] / w.shape[1]
            values = values - empty[:, None]
        off = values - (here.z @ w[..., None])[..., 0]
        if explainer.bias:
            off = off - (share * off).sum(1, keepdim=True)
        found.append(share * off**2)
    return torch.stack(found)


def faithfulness(
    f: Function,
    x: Tensor,
    explanation: Explanation,
    explainer: Explainer,
    samples: int = 1000,
    target: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """float64[n]: loss of one explanation in the explainer's neighbourhood, on fresh draws; see `losses`."""
    return losses(f, x, {"": explanation}, explainer, samples, target, seed)[0].sum(-1)


def choose(
    f: Function,
    x: Tensor,
    explainer: Explainer,
    methods: Mapping[str, Explainer] = METHODS,
    samples: int = 1000,
    target: Tensor | None = None,
    seed: int = 0,
) -> pa.Table:
    """Table `method, loss, se, rank, tied` of the methods' mean losses in the explainer's neighbourhood, best first.

    se: standard error of the mean over points. tied: whether the difference from the best, paired by point, is within
    two of its standard errors. Methods that f cannot be explained by, having no gradient, are left out.
    """
    explanations = {}
    for name, method in methods.items():
        try:
            explanations[name] = method.explain(f, x, samples, target, seed)
        except TypeError:
            continue
    by_point = losses(f, x, explanations, explainer, samples, target, seed).sum(-1).numpy()
    mean = by_point.mean(1)
    order = np.argsort(mean, kind="stable")
    root = by_point.shape[1] ** 0.5
    gap = by_point - by_point[order[0]]
    tied = gap.mean(1) <= TIED * gap.std(1, ddof=1) / root
    names = list(explanations)
    columns = {
        "method": [names[i] for i in order],
        "loss": mean[order],
        "se": by_point.std(1, ddof=1)[order] / root,
        "rank": np.arange(1, len(names) + 1),
        "tied": tied[order],
    }
    return pa.table(columns)


def perturbation_test(
    f: Function,
    x: Tensor,
    weights: Tensor,
    k: int,
    kind: Literal["binary", "continuous"] = "binary",
    end: Literal["bottom", "top"] = "bottom",
    *,
    noise: float = 0.1,
    repeats: int = 100,
    target: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """float64[n]: |f(x) - f(x')| where the k features of least (or most) absolute weight are perturbed.

    binary sets them to 0, continuous adds N(0, noise^2) to them and averages over repeats. Of equal weights the first
    feature comes first. Small is good at the bottom, large at the top. Raises InputError for k outside 1 to d.
    """
    n, d = x.shape
    if not 1 <= k <= d:
        raise InputError(f"k is {k}; perturb 1 to {d} of the {d} features")
    x = x.double()
    order = torch.sort(weights.abs(), dim=1, descending=end == "top", stable=True).indices
    chosen = torch.zeros_like(x).scatter_(1, order[:, :k], 1.0)[:, None]
    if kind == "binary":
        inputs = x[:, None] * (1 - chosen)
    else:
        inputs = x[:, None] + _noise(n, repeats, d, seed) * noise * chosen
    target = predicted_class(f, x) if target is None else target
    values = evaluate(f, x, torch.cat([x[:, None], inputs], dim=1), lambda _, rows: rows, target)
    return (values[:, 1:] - values[:, :1]).abs().mean(1)


@lru_cache(maxsize=1)
def _noise(n: int, repeats: int, d: int, seed: int) -> Tensor:
    """Standard normal [n, repeats, d]: the same for all methods and numbers of features, so drawn once."""
    return torch.randn(n, repeats, d, generator=torch_generator(seed, "perturbation test"), dtype=torch.float64)


def distances(first: Mapping[str, Tensor], second: Mapping[str, Tensor], kind: Literal["l1", "cosine"]) -> Tensor:
    """float64[first, second]: mean over points of the distance between two methods' weights float64[n, d].

    l1: sum of absolute differences. cosine: 1 - cosine; 1 where one of the two is 0.
    """
    a, b = torch.stack(list(first.values()))[:, None], torch.stack(list(second.values()))[None]
    if kind == "l1":
        return (a - b).abs().sum(-1).mean(-1)
    return 1 - torch.nn.functional.cosine_similarity(a, b, dim=-1, eps=1e-300).mean(-1)
