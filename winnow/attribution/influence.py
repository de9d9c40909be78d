"""Influence functions: what a fitted model would be without some of its training rows.

Cook and Weisberg, "Residuals and Influence in Regression", 1982; Koh and Liang, "Understanding Black-box Predictions
via Influence Functions", ICML 2017; the step with the remaining rows' Hessian: Pregibon, "Logistic Regression
Diagnostics", Annals of Statistics, 1981. All numbers are float64.

Models minimise (1/n) sum_i l_i(theta) + (1/2) sum_j penalty_j theta_j^2. Deleting rows leaves n and the penalty as
they are, as scikit-learn does with a fixed C = 1 / (n ridge). Labels are 0 and 1; rows phi_i end in a 1 where the model
has an intercept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from winnow.errors import InputError

Loss = Literal["logistic", "squared"]
NEWTON_STEPS = 100
GRADIENT = 1e-12
"""Largest entry of the gradient of a fit that counts as zero."""
FEW = 6
"""Fits below which each builds its own Hessian."""
SINGULAR = 1e-12
"""Smallest eigenvalue of a Hessian, relative to the largest, that counts as positive."""


def with_intercept(x: np.ndarray) -> np.ndarray:
    """float64[n, d] -> [n, d + 1] with a last column of ones."""
    return np.column_stack([x, np.ones(len(x))]).astype(np.float64)


def ridge_penalty(ridge: float, size: int) -> np.ndarray:
    """The penalty of each of `size` parameters, of which the last is an intercept and free."""
    return np.append(np.full(size - 1, float(ridge)), 0.0)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def residual_and_curvature(outputs: np.ndarray, y: np.ndarray, loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of each row's loss by its output: log loss of the logit, or half the square."""
    if loss == "squared":
        return outputs - y, np.ones_like(outputs)
    probability = _sigmoid(outputs)
    return probability - y, probability * (1 - probability)


def fit_without(
    design: np.ndarray,
    y: np.ndarray,
    kept: np.ndarray,
    penalty: np.ndarray,
    *,
    loss: Loss = "logistic",
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Parameters of linear models, each fitted by Newton's method on its share of the rows: float64[fits, p].

    design: float64[n, p]. y: float64[n]. kept: bool[fits, n]. penalty: float64[p] or [fits, p]. start: where to begin,
    float64[p]. A step is halved while it does not lower the objective. Raises InputError, naming the smallest
    eigenvalue, where a fit has no minimum that Newton's method reaches: separable classes without a penalty.
    """
    n, p = design.shape
    weights = np.atleast_2d(kept).astype(np.float64) / n
    penalty = np.broadcast_to(np.asarray(penalty, np.float64), (len(weights), p))
    theta = np.tile(np.zeros(p) if start is None else start, (len(weights), 1)).astype(np.float64)
    hessians = hessians_of(design, len(weights))
    active = np.arange(len(weights))
    value = _objective(design, y, weights, penalty, theta, loss)
    for _ in range(NEWTON_STEPS):
        residual, curvature = residual_and_curvature(theta[active] @ design.T, y, loss)
        gradient = (weights[active] * residual) @ design + penalty[active] * theta[active]
        going = np.abs(gradient).max(axis=1) > GRADIENT
        active, gradient, curvature = active[going], gradient[going], curvature[going]
        if not len(active):
            return theta
        hessian = hessians(weights[active] * curvature)
        hessian[:, np.arange(p), np.arange(p)] += penalty[active]
        _require_definite(hessian)
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        active, theta, value = _descend(design, y, weights, penalty, theta, value, active, step, loss)
    raise InputError(f"fit: Newton's method did not end in {NEWTON_STEPS} steps; raise the ridge")


def hessians_of(design: np.ndarray, fits: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function weights[fits, n] -> design^T diag(weights) design of each, float64[fits, p, p].

    design: float64[n, p]. fits: how many there will be at once.
    """
    if fits < FEW:
        return lambda weights: np.stack([(design * w[:, None]).T @ design for w in weights])
    # A sum of the same outer products under other weights: one product of matrices for all fits.
    p = design.shape[1]
    upper = np.triu_indices(p)
    products = design[:, upper[0]] * design[:, upper[1]]

    def of(weights: np.ndarray) -> np.ndarray:
        half = np.zeros((len(weights), p, p))
        half[:, upper[0], upper[1]] = weights @ products
        return half + np.triu(half, 1).transpose(0, 2, 1)

    return of


def _objective(
    design: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: np.ndarray, theta: np.ndarray, loss: Loss
) -> np.ndarray:
    outputs = theta @ design.T
    losses = (outputs - y) ** 2 / 2 if loss == "squared" else np.logaddexp(0, outputs) - y * outputs
    return (weights * losses).sum(axis=1) + (penalty * theta**2).sum(axis=1) / 2


def _descend(
    design: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    penalty: np.ndarray,
    theta: np.ndarray,
    value: np.ndarray,
    active: np.ndarray,
    step: np.ndarray,
    loss: Loss,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the steps, each halved until it lowers its objective; one that cannot has arrived."""
    length, waiting = np.ones(len(active)), np.arange(len(active))
    arrived = np.zeros(len(active), bool)
    while len(waiting):
        rows = active[waiting]
        trial = theta[rows] + length[waiting, None] * step[waiting]
        tried = _objective(design, y, weights[rows], penalty[rows], trial, loss)
        # At the minimum rounding hides the decrease; the last full step is then taken.
        good = tried <= value[rows] + 1e-15 * np.abs(value[rows])
        theta[rows[good]], value[rows[good]] = trial[good], tried[good]
        length[waiting[~good]] /= 2
        spent = ~good & (length[waiting] < 1e-10)
        arrived[waiting[spent]] = True
        waiting = waiting[~good & ~spent]
    return active[~arrived], theta, value


def _require_definite(hessian: np.ndarray) -> None:
    values = np.linalg.eigvalsh(hessian)
    smallest = values[..., 0].min()
    if smallest <= SINGULAR * values[..., -1].max():
        raise InputError(f"Hessian: its smallest eigenvalue is {smallest:.3g}, so it has no inverse; raise the ridge")


@dataclass(frozen=True)
class Influence:
    """A fitted model and what each training row holds of it.

    For networks `design` has the gradients of the output by the parameters as rows, so that everything below is what
    the linearised model would do.
    """

    theta: np.ndarray
    """float64[p], the fitted parameters."""
    design: np.ndarray
    """float64[n, p]."""
    hessian: np.ndarray
    """float64[p, p] of the objective, damping included."""
    residual: np.ndarray
    """float64[n], derivative of each row's loss by its output."""
    curvature: np.ndarray
    """float64[n], second derivative of each row's loss by its output."""
    steps: np.ndarray
    """float64[n, p], H^-1 g_i: n times what the parameters gain, to first order, where row i is deleted."""

    def scores(self, phi: np.ndarray) -> np.ndarray:
        """float64[..., n]: n times what the output at phi [..., p] gains, to first order, by deleting each row."""
        return phi @ self.steps.T

    def worst(self, phi: np.ndarray, k: int) -> np.ndarray:
        """int64[k]: the rows whose deletion lowers the output at phi [p] most, to first order, the worst first.

        Rows whose deletion would raise it are left out, so there may be fewer. Ties go to the lower row.
        """
        self._check(k)
        scores = self.scores(phi)
        rows = np.argsort(scores, kind="stable")[:k]
        return rows[scores[rows] < 0]

    def margin(self, phi: np.ndarray, k: int) -> np.ndarray:
        """float64[...]: lowest output at phi [..., p], to first order, without at most k rows; concave in phi."""
        self._check(k)
        scores = self.scores(phi)
        lowest = np.minimum(np.sort(scores, axis=-1)[..., :k], 0).sum(axis=-1)
        return phi @ self.theta + lowest / len(self.design)

    def without(self, rows: np.ndarray, order: Literal["first", "newton"] = "first") -> np.ndarray:
        """float64[p]: the parameters without some rows.

        first: theta + (1/n) sum_S H^-1 g_i. newton: one Newton step with the Hessian of the rows that remain, exact for
        a squared loss.
        """
        n = len(self.design)
        if order == "first":
            return self.theta + self.steps[rows].sum(axis=0) / n
        removed = self.design[rows]
        hessian = self.hessian - (removed * self.curvature[rows, None]).T @ removed / n
        return self.theta + np.linalg.solve(hessian, removed.T @ self.residual[rows]) / n

    def leverage(self) -> np.ndarray:
        """float64[n]: curvature_i phi_i^T H^-1 phi_i / n, the share of each row in its own prediction."""
        inverse = np.linalg.solve(self.hessian, self.design.T).T
        return self.curvature * (self.design * inverse).sum(axis=1) / len(self.design)

    def _check(self, k: int) -> None:
        if not 0 <= k < len(self.design):
            raise InputError(f"k is {k} of {len(self.design)} training rows; delete at least 0 and not all of them")


def influence_of(
    theta: np.ndarray,
    design: np.ndarray,
    outputs: np.ndarray,
    y: np.ndarray,
    penalty: np.ndarray,
    *,
    loss: Loss = "logistic",
    damping: float = 0.0,
) -> Influence:
    """The influence of the rows on a model of which parameters, gradients and outputs are known.

    theta: float64[p]. design: float64[n, p], gradients of the outputs [n] by the parameters. penalty: float64[p].
    The Hessian is Gauss and Newton's, (1/n) sum_i l_i'' phi_i phi_i^T + diag(penalty) + damping I, which is exact for
    linear models. Raises InputError, naming the smallest eigenvalue, where it has no inverse.
    """
    residual, curvature = residual_and_curvature(outputs, y, loss)
    hessian = (design * curvature[:, None]).T @ design / len(design)
    hessian[np.diag_indices(len(theta))] += penalty + damping
    _require_definite(hessian)
    steps = np.linalg.solve(hessian, (design * residual[:, None]).T).T
    return Influence(theta, design, hessian, residual, curvature, steps)


def influence(x: np.ndarray, y: np.ndarray, ridge: float, loss: Loss = "logistic", damping: float = 0.0) -> Influence:
    """Fit a linear model with an intercept, and the influence of its rows.

    x: float64[n, d]. y: float64[n], for the logistic loss 0 or 1. ridge: penalty of every weight, not of the intercept.
    Raises InputError for labels other than 0 and 1, and where the Hessian has no inverse.
    """
    if loss == "logistic" and not np.isin(y, (0, 1)).all():
        raise InputError("influence: the logistic loss takes labels 0 and 1")
    design, penalty = with_intercept(x), ridge_penalty(ridge, x.shape[1] + 1)
    theta = fit_without(design, y, np.ones((1, len(y)), bool), penalty, loss=loss)[0]
    return influence_of(theta, design, design @ theta, y, penalty, loss=loss, damping=damping)
