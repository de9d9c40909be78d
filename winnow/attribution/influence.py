"""Influence functions: what a fitted model would be without some of its training rows.

Cook and Weisberg, "Residuals and Influence in Regression", 1982; Koh and Liang, "Understanding Black-box Predictions
via Influence Functions", ICML 2017; the step with the remaining rows' Hessian: Pregibon, "Logistic Regression
Diagnostics", Annals of Statistics, 1981. All numbers are float64.

Models minimise (1/n) sum_i l_i(theta) + (1/2) sum_j penalty_j theta_j^2. Deleting rows leaves n and the penalty as
they are, as scikit-learn does with a fixed C = 1 / (n ridge). Labels are 0 and 1; rows phi_i end in a 1 where the model
has an intercept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from winnow.attribution.newton_fits import Loss, fit_without, inverse_of, residual_and_curvature
from winnow.errors import InputError


def with_intercept(x: np.ndarray) -> np.ndarray:
    """float64[n, d] -> [n, d + 1] with a last column of ones."""
    return np.column_stack([x, np.ones(len(x))]).astype(np.float64)


def ridge_penalty(ridge: float, size: int) -> np.ndarray:
    """The penalty of each of `size` parameters, of which the last is an intercept and free."""
    return np.append(np.full(size - 1, float(ridge)), 0.0)


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
    inverse_of(hessian)  # which says where there is none
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
