"""Recourse that stays valid when training rows are erased and the model is fitted again.

Krishna, Ma and Lakkaraju, "Towards Bridging the Gaps between the Right to Explanation and the Right to be Forgotten",
ICML 2023. Baselines: Wachter, Mittelstadt and Russell, "Counterfactual Explanations without Opening the Black Box",
2018; Upadhyay, Joshi and Lakkaraju, "Towards Robust and Reliable Algorithmic Recourse" (ROAR), NeurIPS 2021; Pawelczyk,
Broelemann and Kasneci, "Learning Model-Agnostic Counterfactual Explanations for Tabular Data" (C-CHVAE), WWW 2020.

A recourse moves a row x with output f(x) < 0 to an x' with f(x') of at least a margin. Against an adversary that may
exchange the parameters, its least output over them is a concave function of x' for linear models, so the nearest x' is
a quadratic programme with as many linear constraints as parameters that matter; those are found one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from winnow.attribution.influence import Influence
from winnow.errors import InputError
from winnow.evaluate.nearest_point import Cost, length, nearest

Cuts = Literal["query", "iterative", "newton", "refit", "enumerate"]
Status = Literal["found", "infeasible", "unfinished"]
Adversary = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""x' -> parameters float64[d + 1] that are worst there, and the rows int64[<= k] whose deletion they stand for."""
Refit = Callable[[np.ndarray], np.ndarray]
"""Deleted rows bool[fits, n] -> parameters float64[fits, d + 1] of models fitted without them."""
ROUNDS = 60
TOLERANCE = 1e-9
"""Output by which a constraint may be missed and still counts as met."""


@dataclass(frozen=True)
class Recourse:
    """Where a row should move, and how that is known."""

    point: np.ndarray | None
    """float64[d]; None where no point meets the constraints."""
    cost: float
    """Distance from the row; NaN without a point."""
    margin: float
    """Least output over the models that the search knew at the end; NaN without a point."""
    rows: np.ndarray
    """int64[<= k]: the deletion that decided, as the adversary sees it."""
    rounds: int
    """Constraints found one by one, the first model among them."""
    status: Status


def outputs(points: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """float64[...]: output at points [..., d] of linear models theta [..., d + 1], the intercept last."""
    return (points * theta[..., :-1]).sum(axis=-1) + theta[..., -1]


def cutting_planes(
    x: np.ndarray,
    theta: np.ndarray,
    adversary: Adversary,
    *,
    margin: float = 1e-3,
    cost: Cost = "l2",
    immutable: np.ndarray | None = None,
    bounds: np.ndarray | None = None,
    rounds: int = ROUNDS,
) -> Recourse:
    """The nearest point at which the fitted model and the adversary's answer put out at least `margin`.

    Starts from the model theta float64[d + 1]; each round adds the parameters that the adversary finds worst at the
    point so far and solves again, until the point holds. Where the least output over all that the adversary may answer
    is concave and it answers with the least, the result is the optimum.
    """
    known, rows = [theta], np.empty(0, np.int64)
    for done in range(1, rounds + 1):
        models = np.stack(known)
        point = nearest(x, models[:, :-1], margin - models[:, -1], cost, immutable, bounds)
        if point is None:
            return Recourse(None, np.nan, np.nan, rows, done, "infeasible")
        worst, deleted = adversary(point)
        least = float(min(outputs(point, models).min(), outputs(point, worst)))
        if outputs(point, worst) >= margin - TOLERANCE:
            return Recourse(point, float(length(point - x, cost)), least, deleted, done, "found")
        known.append(worst)
        rows = deleted
    return Recourse(point, float(length(point - x, cost)), least, rows, rounds, "unfinished")


def _phi(x: np.ndarray) -> np.ndarray:
    return np.append(x, 1.0)


def _subsets(n: int, k: int) -> list[tuple[int, ...]]:
    return [rows for size in range(k + 1) for rows in combinations(range(n), size)]


def adversary_of(influence: Influence, x: np.ndarray, k: int, cuts: Cuts, refit: Refit | None = None) -> Adversary:
    """Who deletes at most k rows, and what is thought to become of the model.

    query: the rows that are worst at x, whatever x' is, to first order (as published). iterative: the rows that are
    worst at x', to first order. newton: those, with a Newton step of the remaining rows' Hessian. refit: those, truly
    fitted again. enumerate: the worst of all deletions, each truly fitted, for tiny data only.
    """
    if cuts in ("refit", "enumerate") and refit is None:
        raise ValueError(f"cuts {cuts} fits again; give refit")
    n = len(influence.design)
    fixed = influence.worst(_phi(x), k)
    if cuts == "enumerate":
        assert refit is not None
        subsets = _subsets(n, k)
        thetas = refit(np.array([np.isin(np.arange(n), rows) for rows in subsets]))

        def enumerated(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            worst = int(np.argmin(outputs(point, thetas)))
            return thetas[worst], np.array(subsets[worst], dtype=np.int64)

        return enumerated

    def answer(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = fixed if cuts == "query" else influence.worst(_phi(point), k)
        if cuts == "refit":
            assert refit is not None
            return refit(np.isin(np.arange(n), rows)[None])[0], rows
        return influence.without(rows, "newton" if cuts == "newton" else "first"), rows

    return answer


def robust_recourse(
    x: np.ndarray,
    influence: Influence,
    k: int,
    *,
    cuts: Cuts = "iterative",
    refit: Refit | None = None,
    margin: float = 1e-3,
    cost: Cost = "l2",
    immutable: np.ndarray | None = None,
    bounds: np.ndarray | None = None,
) -> Recourse:
    """The nearest point that stays accepted when at most k training rows are deleted; see `adversary_of` for cuts.

    x: float64[d]. influence: of a linear model, its intercept last. k = 0 is the plain recourse: the projection onto
    the model's boundary. Raises InputError for a k that leaves no row.
    """
    adversary = adversary_of(influence, x, k, cuts, refit)
    options = {"margin": margin, "cost": cost, "immutable": immutable, "bounds": bounds}
    return cutting_planes(x, influence.theta, adversary, **options)  # type: ignore[arg-type]


def roar(
    x: np.ndarray,
    theta: np.ndarray,
    delta: float,
    *,
    margin: float = 1e-3,
    cost: Cost = "l2",
    immutable: np.ndarray | None = None,
    bounds: np.ndarray | None = None,
) -> Recourse:
    """The nearest point that stays accepted when each parameter moves by at most delta.

    The authors descend on a sum of loss and cost; the worst parameters at x' are theta - delta sign([x', 1]), so the
    least output is concave in x' and the same search finds the optimum of the constrained problem.
    """
    if delta < 0:
        raise InputError(f"delta is {delta}; it must be at least 0")

    def worst(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return theta - delta * np.sign(_phi(point)), np.empty(0, np.int64)

    options = {"margin": margin, "cost": cost, "immutable": immutable, "bounds": bounds}
    return cutting_planes(x, theta, worst, **options)  # type: ignore[arg-type]


def extra_cost_bound(influence: Influence, point: np.ndarray, k: int) -> float:
    """At most so much dearer than the plain recourse is the first-order robust one of a linear model, in l2.

    point: the plain recourse, float64[d]. The robust output lies at most (k/n) max_i |H^-1 g_i| |[x', 1]| below the
    model's. Along its weights w the model gains |w| for a unit of distance, and that bound grows by (k/n) max_i
    |H^-1 g_i| at most. Infinite where deletions can outweigh the weights.
    """
    steepest = k / len(influence.design) * float(length(influence.steps).max(initial=0))
    weights = float(length(influence.theta[:-1]))
    return steepest * float(length(_phi(point))) / (weights - steepest) if steepest < weights else np.inf


def deletions(influence: Influence, points: np.ndarray, k: int) -> np.ndarray:
    """bool[points, n]: for each point [points, d] the rows that the influence adversary deletes."""
    phi = np.column_stack([points, np.ones(len(points))])
    scores = influence.scores(phi)
    order = np.argsort(scores, axis=1, kind="stable")[:, :k]
    deleted = np.zeros(scores.shape, bool)
    np.put_along_axis(deleted, order, np.take_along_axis(scores, order, axis=1) < 0, axis=1)
    return deleted
