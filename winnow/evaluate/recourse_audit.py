"""Erase training rows, fit again and look whether a recourse still holds.

The influence adversary erases the rows that are worst to first order; the greedy one looks again after each part of its
budget (as the attack of Pawelczyk, Leemann, Biega and Kasneci, "On the Trade-Off between Actionable Explanations and
the Right to be Forgotten", ICLR 2023); the random one erases rows blindly. All of them fit truly again, the scaler too.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from winnow.attribution.influence import Influence, ridge_penalty, with_intercept
from winnow.attribution.newton_fits import FEW, Hessians, fit_without, hessians_of, residual_and_curvature
from winnow.evaluate.robust_recourse import Adversary, deletions, outputs
from winnow.randomness import numpy_generator

AdversaryName = Literal["influence", "greedy", "random"]
GREEDY_PARTS = 4
RANDOM_SETS = 200


class Refit:
    """Logistic regressions fitted again without some rows, with a scaler of the rows that remain.

    x: float64[n, d], in the scale in which recourses are measured. Called with deleted rows bool[fits, n], it gives
    parameters float64[fits, d + 1] in that same scale. A scaler of other rows is another penalty: ridge on a weight in
    units of the remaining rows' deviation.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, ridge: float, start: np.ndarray | None = None) -> None:
        self.x, self.y, self.ridge, self.start = x, y, ridge, start
        self.design = with_intercept(x)
        self._of_many = hessians_of(self.design, FEW)
        self._blind: dict[tuple[int, int], np.ndarray] = {}

    def penalty(self, deleted: np.ndarray) -> np.ndarray:
        """float64[fits, d + 1]."""
        share = ~deleted / (~deleted).sum(axis=1, keepdims=True)
        mean = share @ self.x
        variance = np.maximum(share @ self.x**2 - mean**2, 0)
        # A column that has become constant is left as it is, as the scaler of the whole set does.
        variance[variance <= 1e-12] = 1.0
        plain = ridge_penalty(self.ridge, self.design.shape[1])
        return np.column_stack([plain[:-1] * variance, np.zeros(len(deleted))])

    def __call__(self, deleted: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        start = self.start if start is None else start  # [fits, d + 1], or the parameters of the whole set
        hessians = self.hessians(len(deleted))
        return fit_without(self.design, self.y, ~deleted, self.penalty(deleted), start=start, hessians=hessians)

    def hessians(self, fits: int) -> Hessians:
        """`hessians_of` the rows for so many fits; what many need is made once."""
        return self._of_many if fits >= FEW else hessians_of(self.design, fits)

    def blind(self, k: int, seed: int) -> np.ndarray:
        """Parameters float64[sets, d + 1] without the rows of `random_deletions`, which do not depend on any point."""
        if (k, seed) not in self._blind:
            self._blind[k, seed] = self(random_deletions(len(self.y), k, seed))
        return self._blind[k, seed]


def greedy_deletions(points: np.ndarray, refit: Refit, k: int, parts: int = GREEDY_PARTS) -> np.ndarray:
    """bool[points, n]: rows erased a part of k at a time, the worst to first order for the model fitted so far."""
    n, design = len(refit.design), refit.design
    phi = np.column_stack([points, np.ones(len(points))])
    deleted, theta = np.zeros((len(points), n), bool), None
    hessians = refit.hessians(len(points))
    for part in range(min(parts, k)):
        take = (part + 1) * k // min(parts, k) - part * k // min(parts, k)
        theta = refit(deleted, theta)
        residual, curvature = residual_and_curvature(theta @ design.T, refit.y, "logistic")
        hessian = hessians(~deleted * curvature / n)
        hessian[:, np.arange(design.shape[1]), np.arange(design.shape[1])] += refit.penalty(deleted)
        scores = np.linalg.solve(hessian, phi[..., None])[..., 0] @ design.T * residual
        scores[deleted] = 0
        order = np.argsort(scores, axis=1, kind="stable")[:, :take]
        worse = np.take_along_axis(scores, order, axis=1) < 0
        np.put_along_axis(deleted, order, worse | np.take_along_axis(deleted, order, axis=1), axis=1)
    return deleted


def strongest_adversary(influence: Influence, refit: Refit, k: int) -> Adversary:
    """For `cutting_planes`: of the first-order and the greedy deletion at a point the one that, truly refitted, is
    worse."""

    def answer(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tried = np.concatenate([deletions(influence, point[None], k), greedy_deletions(point[None], refit, k)])
        thetas = refit(tried)
        worse = int(np.argmin(outputs(point, thetas)))
        return thetas[worse], np.flatnonzero(tried[worse])

    return answer


def random_deletions(n: int, k: int, seed: int, sets: int = RANDOM_SETS) -> np.ndarray:
    """bool[sets, n]: k rows each, drawn without replacement."""
    generator = numpy_generator(seed, "random deletions", str(k))
    deleted = np.zeros((sets, n), bool)
    np.put_along_axis(deleted, np.argsort(generator.random((sets, n)), axis=1)[:, :k], True, axis=1)
    return deleted


def audit(
    points: np.ndarray, influence: Influence, refit: Refit, k: int, adversary: AdversaryName, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the adversary's deletions that each point survives, float64[points], and its least output after them.

    points: float64[points, d], of which rows of NaN are no points and survive nothing. k: rows that may be erased.
    """
    found = np.isfinite(points).all(axis=1)
    valid, least = np.zeros(len(points)), np.full(len(points), np.nan)
    if not found.any():
        return valid, least
    known = points[found]
    if adversary == "random":
        after = outputs(known[:, None], refit.blind(k, seed)[None])
    else:
        chosen = deletions(influence, known, k) if adversary == "influence" else greedy_deletions(known, refit, k)
        after = outputs(known, refit(chosen))[:, None]
    valid[found], least[found] = (after >= 0).mean(axis=1), after.min(axis=1)
    return valid, least


def drops(points: np.ndarray, influence: Influence, refit: Refit, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By how much the output of each point falls when its k worst rows go: to first order, and truly;
    float64[points]."""
    whole = outputs(points, influence.theta)
    phi = np.column_stack([points, np.ones(len(points))])
    return whole - influence.margin(phi, k), whole - outputs(points, refit(deletions(influence, points, k)))
