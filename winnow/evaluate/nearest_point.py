"""The nearest point that meets linear constraints.

l2 by non-negative least squares: C. Lawson, R. Hanson, "Solving Least Squares Problems", 1974, chapter 23.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.optimize import linprog, nnls

Cost = Literal["l2", "l1"]


def nearest(
    x: np.ndarray,
    weights: np.ndarray,
    least: np.ndarray,
    cost: Cost = "l2",
    immutable: np.ndarray | None = None,
    bounds: np.ndarray | None = None,
) -> np.ndarray | None:
    """The x' nearest to x with weights @ x' >= least, or None where there is none.

    x: float64[d]. weights: float64[m, d]. least: float64[m]. immutable: bool[d], features that stay. bounds:
    float64[2, d], lowest and highest value of each feature. l2 is solved by non-negative least squares (Lawson and
    Hanson, "Solving Least Squares Problems", 1974, chapter 23), l1 by a linear programme.
    """
    free = np.ones(len(x), bool) if immutable is None else ~np.asarray(immutable, bool)
    rows, right = [weights[:, free]], [least - weights @ x]
    if bounds is not None:
        eye = np.eye(len(x))[:, free]
        rows += [eye[free], -eye[free]]
        right += [(bounds[0] - x)[free], (x - bounds[1])[free]]
    matrix, gap = np.concatenate(rows), np.concatenate(right)
    if (gap <= 0).all():
        return x.copy()
    move = _least_l2(matrix, gap) if cost == "l2" else _least_l1(matrix, gap)
    if move is None:
        return None
    moved = x.copy()
    moved[free] += move
    return moved


def _least_l2(matrix: np.ndarray, gap: np.ndarray) -> np.ndarray | None:
    """The shortest v with matrix @ v >= gap."""
    # The dual's scale must not hide a small residual, which is what tells an infeasible problem.
    scale = np.abs(gap).max()
    stacked = np.vstack([matrix.T, gap / scale])
    target = np.zeros(len(stacked))
    target[-1] = 1
    multipliers, _ = nnls(stacked, target, maxiter=50 * stacked.shape[1])
    residual = target - stacked @ multipliers
    if residual[-1] < 1e-12:
        return None
    move = -residual[:-1] / residual[-1] * scale
    return move if (matrix @ move >= gap - 1e-7 * scale).all() else None


def _least_l1(matrix: np.ndarray, gap: np.ndarray) -> np.ndarray | None:
    """The v of least sum of absolute values with matrix @ v >= gap."""
    size = matrix.shape[1]
    solved = linprog(np.ones(2 * size), A_ub=-np.hstack([matrix, -matrix]), b_ub=-gap, method="highs")
    return solved.x[:size] - solved.x[size:] if solved.status == 0 else None


def length(move: np.ndarray, cost: Cost = "l2") -> np.ndarray:
    """float64[...]: how far a move [..., d] goes."""
    return np.sqrt((move**2).sum(axis=-1)) if cost == "l2" else np.abs(move).sum(axis=-1)
