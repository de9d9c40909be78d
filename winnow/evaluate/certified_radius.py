"""How far an input may be moved before a prototype model can change its mind, proven and attacked.

The theorem: Saralajew, Rana, Villmann and Shaker, AAAI 2025. The hypothesis margin of LVQ: Saralajew, Holdijk and
Villmann, "Fast Adversarial Robustness Certification of Nearest Prototype Classifiers for Arbitrary Seminorms", NeurIPS
2020.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.adversarial import pgd
from winnow.train.component_reasoning import OriginalReasoning
from winnow.train.glvq import Glvq, true_and_best_other
from winnow.train.rbf_components import CBC, best_column, reasoning_of, worst_margins
from winnow.workloads.unit_interval import Show

Method = Literal["closed", "tight"]
SAFETY = 1e-6  # share by which a radius is shortened, far above what rounding in float64 can add to it
STEPS = 60  # of bisection
BLOCK = 256


@torch.no_grad()
def certified_radius(
    model: CBC | Glvq, x: Tensor, y: Tensor, method: Literal["closed", "tight"] = "tight"
) -> np.ndarray:
    """A radius in the units and the p-norm of the model within which each prediction stays right, float64[n].

    0 where the prediction is not strictly right; inf where nothing can change it. "closed" is the theorem's formula,
    "tight" bisects the same bound for each component; GLVQ has the hypothesis margin (d- - d+) / 2 for both.
    Raises InputError for an x that is not finite.
    """
    if not torch.isfinite(x).all():
        raise InputError("an input is NaN or infinite; mend it or leave it out")
    exact = deepcopy(model).double().eval()
    parts = zip(x.double().split(BLOCK), y.split(BLOCK), strict=True)
    radius = torch.cat([_radius(exact, *part, method) for part in parts])
    return (radius * (1 - SAFETY)).numpy()


def _radius(model: CBC | Glvq, x: Tensor, y: Tensor, method: str) -> Tensor:
    if isinstance(model, Glvq):
        own, other = true_and_best_other(-model.class_distances(x).sqrt(), y)
        return ((own - other) / 2).clamp(min=0)
    distances = exact_distances(model, x)
    found = _closed(model, distances, y) if method == "closed" else _tight(model, distances, y)
    return found.amin(dim=1)


def exact_distances(model: CBC, x: Tensor) -> Tensor:
    """|x - t_k| [n, K] by differences, which keep the digits that an expanded square loses."""
    return torch.linalg.vector_norm(x[:, None] - model.components, ord=model.p, dim=2)


def _tight(model: CBC, distances: Tensor, y: Tensor) -> Tensor:
    """Bisection of the worst margin for each reasoning vector, [n, columns]; inf where it never falls to 0."""
    # Without absence only ratios of detections count, so far away they are taken relative to the largest.
    logs = model.log_kernel(distances)
    shift: Tensor | float = 0.0 if reasoning_of(model).negative else logs.amax(dim=1, keepdim=True)

    def bound(radius: Tensor) -> Tensor:
        return worst_margins(model, distances, y, radius, shift)

    own = reasoning_of(model).class_of == y[:, None]
    low = torch.zeros(own.shape, dtype=torch.float64)
    right = bound(low) > 0
    high = torch.ones_like(low).masked_fill(own, torch.inf)
    # Far enough every foreign component is met in full, and the own ones fade to nothing.
    while bool((grow := (bound(high) > 0) & high.isfinite()).any()):
        high = torch.where(grow, 2 * high, high)
    never = bound(high) > 0
    for _ in range(STEPS):
        middle = (low + high) / 2
        good = bound(middle) > 0
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    low = torch.where(never, torch.inf, low)
    return torch.where(right, low, 0.0)


def _closed(model: CBC, distances: Tensor, y: Tensor) -> Tensor:
    """The theorem's radius for each reasoning vector, [n, columns]."""
    head = reasoning_of(model)
    plus, minus = head.probabilities()
    columns, held = plus - minus, minus.sum(0)
    logs = model.log_kernel(distances)
    foreign = head.class_of != y[:, None]
    own = best_column(head, logs.exp(), foreign)
    edges = columns.T[own][:, None, :] - columns.T
    # Logarithms of P and N, which both underflow far away although their ratio does not.
    log_p, log_n = ((sign * edges).clamp(min=0).log().add(logs[:, None]).logsumexp(dim=2) for sign in (1, -1))
    b = held[own][:, None] - held
    root = (b.square() + 4 * (log_n + log_p).exp()).sqrt()
    # Forms of one root of P / z - N z + b = 0; each is stable where the others cancel.
    log_z = torch.where(b > 0, (b + root).log() - math.log(2) - log_n, math.log(2) + log_p - (root - b).log())
    log_z = torch.where(b == 0, (log_p - log_n) / 2, log_z)
    # z > 1 exactly where the prediction is right; two classes that argue alike give NaN, and no radius.
    grown = log_z.nan_to_num(nan=0.0, posinf=torch.inf).clamp(min=0) * model.log_scale.exp().min()
    if model.kernel == "norm":
        found = grown
    else:
        beta = distances.amax(dim=1, keepdim=True)
        # -beta + sqrt(beta^2 + s ln z), without the cancellation.
        found = torch.where(grown.isinf(), grown, grown / (beta + (beta.square() + grown).sqrt()))
    return found.masked_fill(~foreign, torch.inf)


def certified_accuracy(radius: np.ndarray, at: list[float]) -> list[float]:
    """Share of inputs whose certified radius is at least each of the given ones, and above 0."""
    return [float(((radius >= r) & (radius > 0)).mean()) for r in at]


def violations(model: nn.Module, x: Tensor, y: Tensor, radius: np.ndarray, steps: int, restarts: int, seed: int) -> int:
    """Inputs that PGD in l2 moves across the decision inside their own certified ball; 0 if the certificate is right.

    x: float[n, D] as the model takes it. Inputs that are certified nowhere, or everywhere, are left out.
    """
    exact = deepcopy(model).double().eval()
    chosen = np.isfinite(radius) & (radius > 0)
    if not chosen.any():
        return 0
    points, labels = x[chosen].double(), y[chosen]
    balls = torch.from_numpy(radius[chosen])[:, None]

    # Inputs in units of their own ball, so that one attack with the radius 1 serves all.
    class Scaled(nn.Module):
        def forward(self, moved: Tensor) -> Tensor:
            found: Tensor = exact(points + (moved - points) * balls)
            return found

    def gap(scores: Tensor, wanted: Tensor) -> Tensor:
        own, other = true_and_best_other(scores, wanted)
        return other - own

    scaled = Scaled()
    delta = pgd(scaled, points, labels, 1.0, norm="l2", steps=steps, restarts=restarts, box=None, loss=gap, seed=seed)
    with torch.no_grad():
        return int((gap(scaled(points + delta), labels) >= 0).sum())


def certificates(
    model: CBC | Glvq,
    x: Tensor,
    y: Tensor,
    radii: list[float],
    attacked: int,
    steps: int,
    restarts: int,
    seed: int,
) -> tuple[np.ndarray, list[tuple[str, float, int | None]]]:
    """The tight radius of each x, and (metric, value, None) rows: certified accuracy of both certificates, violations.

    certified_<radius> and closed_<radius> are shares; median_radius is over right predictions; violations counts
    the first `attacked` inputs that PGD moves across the decision inside their ball.
    """
    tight, closed = certified_radius(model, x, y, "tight"), certified_radius(model, x, y, "closed")
    rows: list[tuple[str, float, int | None]] = []
    for name, radius in (("certified", tight), ("closed", closed)):
        shares = certified_accuracy(radius, radii)
        rows += [(f"{name}_{r:g}", share, None) for r, share in zip(radii, shares, strict=True)]
    right = tight[tight > 0]
    rows.append(("median_radius", float(np.median(right)) if len(right) else 0.0, None))
    found = violations(model, x[:attacked], y[:attacked], tight[:attacked], steps, restarts, seed)
    return tight, [*rows, ("violations", float(found), None)]


@torch.no_grad()
def thin_predictions(model: CBC, x: Tensor, sure: float = 0.9, thin: float = 0.1) -> float:
    """Share of x whose class is given p > `sure` on less than `thin` of definite reasoning.

    In the joint variant all reasoning is definite, so its share is 0.
    """
    p, guess = model(x).max(dim=1)
    if isinstance(model.head, OriginalReasoning):
        definite = model.head.definite()
    else:
        definite = torch.stack(model.head.probabilities()).sum(dim=(0, 1)).view(model.head.classes, -1).amin(dim=1)
    return float(((p > sure) & (definite[guess] < thin)).double().mean())


@torch.no_grad()
def component_rows(model: CBC, classes: list[str], show: Show) -> pa.Table:
    """component, class, plus, minus, and the columns by which `show` shows the component.

    As many rows for each component and class as show it; the first reasoning vector of a class counts.
    """
    head = reasoning_of(model)
    plus, minus = head.probabilities()
    first = [int((head.class_of == label).nonzero()[0]) for label in range(len(classes))]
    rows = [
        {"component": k, "class": name, "plus": float(plus[k, column]), "minus": float(minus[k, column])} | row
        for k, point in enumerate(show(model.components))
        for name, column in zip(classes, first, strict=True)
        for row in point
    ]
    return pa.Table.from_pylist(rows)
