"""Linear models fitted by Newton's method, many at once, each on its own share of the rows. All numbers are float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from winnow.errors import InputError

Loss = Literal["logistic", "squared"]
Hessians = Callable[[np.ndarray], np.ndarray]
NEWTON_STEPS = 100
GRADIENT = 1e-12
"""Largest entry of the gradient of a fit that counts as zero."""
FALL = 0.3
"""A Hessian serves on while each step leaves at most this share of the gradient."""
FEW = 6
"""Fits below which each builds its own Hessian."""
SINGULAR = 1e-12
"""Smallest eigenvalue of a Hessian, relative to the largest, that counts as positive."""


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
    hessians: Hessians | None = None,
) -> np.ndarray:
    """Parameters of linear models, each fitted by Newton's method on its share of the rows: float64[fits, p].

    design: float64[n, p]. y: float64[n]. kept: bool[fits, n]. penalty: float64[p] or [fits, p]. start: where to begin,
    float64[p] or [fits, p]. hessians: of `hessians_of`, where a caller that fits often has them. A step is halved while
    it does not lower the objective. Raises InputError, naming the smallest eigenvalue, where a fit has no minimum that
    Newton's method reaches: separable classes without a penalty.
    """
    n, p = design.shape
    weights = np.atleast_2d(kept).astype(np.float64) / n
    penalty = np.broadcast_to(np.asarray(penalty, np.float64), (len(weights), p))
    theta = np.broadcast_to(np.zeros(p) if start is None else start, (len(weights), p)).astype(np.float64)
    hessians = hessians or hessians_of(design, len(weights))
    active = np.arange(len(weights))
    value = _objective(design, y, weights, penalty, theta, loss)
    inverse, last = np.empty((len(weights), p, p)), np.zeros(len(weights))
    for _ in range(NEWTON_STEPS):
        residual, curvature = residual_and_curvature(theta[active] @ design.T, y, loss)
        gradient = (weights[active] * residual) @ design + penalty[active] * theta[active]
        size = np.abs(gradient).max(axis=1)
        going = size > GRADIENT
        active, gradient, curvature, size = active[going], gradient[going], curvature[going], size[going]
        if not len(active):
            return theta
        stale = size > FALL * last[active]
        last[active] = size
        if stale.any():
            rows = active[stale]
            hessian = hessians(weights[rows] * curvature[stale])
            hessian[:, np.arange(p), np.arange(p)] += penalty[rows]
            inverse[rows] = inverse_of(hessian)
        step = -(inverse[active] @ gradient[..., None])[..., 0]
        active, theta, value = _descend(design, y, weights, penalty, theta, value, active, step, loss)
    raise InputError(f"fit: Newton's method did not end in {NEWTON_STEPS} steps; raise the ridge")


def hessians_of(design: np.ndarray, fits: int) -> Hessians:
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


def inverse_of(hessian: np.ndarray) -> np.ndarray:
    """The inverses of Hessians [..., p, p], which have no eigenvalue below 0.

    Raises InputError, naming the smallest eigenvalue, where it is 0 but for rounding.
    """
    try:
        inverse = np.linalg.inv(hessian)
    except np.linalg.LinAlgError:
        inverse = np.full_like(hessian, np.inf)
    # An inverse's Frobenius norm is at least 1 over the smallest eigenvalue, a trace at least the largest: a bound that
    # nearly always settles what eigenvalues would.
    norm = np.linalg.norm(inverse, axis=(-2, -1)).max()
    if not np.isfinite(norm) or norm * SINGULAR * np.trace(hessian, axis1=-2, axis2=-1).max() >= 1:
        values = np.linalg.eigvalsh(hessian)
        smallest = values[..., 0].min()
        if smallest <= SINGULAR * values[..., -1].max():
            raise InputError(
                f"Hessian: its smallest eigenvalue is {smallest:.3g}, so it has no inverse; raise the ridge"
            )
    return inverse
