"""The compiled loop of template regression: many small robust linear fits."""

from __future__ import annotations

import numba
import numpy as np

RIDGE = 1e-12  # of the mean squared entry, which is at most 1: keeps equal columns from dividing by 0


@numba.njit(cache=True, error_model="numpy")  # whose divisions ask for no zero: no divisor here is one
def robust_fits(columns: np.ndarray, y: np.ndarray, delta: float, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns [c, n, p] and y [n] -> coefficients [c, p], mean soft-L1 costs [c], by reweighting.

    Columns that are not finite have coefficients of 0 and cost infinity.
    """
    count, n, p = columns.shape
    found, costs = np.zeros((count, p)), np.full(count, np.inf)
    scaled, size = np.empty((n, p)), np.empty(p)
    weights, factor, right = np.empty(n), np.empty((p, p)), np.empty(p)
    for c in range(count):
        finite = True
        size[:] = 1e-300
        for i in range(n):
            for a in range(p):
                finite &= np.isfinite(columns[c, i, a])
                size[a] = max(size[a], abs(columns[c, i, a]))
        if not finite:
            continue
        for i in range(n):
            for a in range(p):
                scaled[i, a] = columns[c, i, a] / size[a]
        weights[:] = 1.0
        for _ in range(rounds):
            factor[:] = 0.0
            right[:] = 0.0
            for i in range(n):
                for a in range(p):
                    weighted = scaled[i, a] * weights[i]
                    right[a] += weighted * y[i]
                    for b in range(a + 1):
                        factor[a, b] += weighted * scaled[i, b]
            ridge = RIDGE * weights.sum()
            for a in range(p):  # Cholesky's factor in place, then two triangles
                factor[a, a] += ridge
                for b in range(a + 1):
                    total = factor[a, b]
                    for k in range(b):
                        total -= factor[a, k] * factor[b, k]
                    factor[a, b] = np.sqrt(max(total, 1e-300)) if a == b else total / factor[b, b]
            for a in range(p):
                total = right[a]
                for k in range(a):
                    total -= factor[a, k] * right[k]
                right[a] = total / factor[a, a]
            for a in range(p - 1, -1, -1):
                total = right[a]
                for k in range(a + 1, p):
                    total -= factor[k, a] * found[c, k]
                found[c, a] = total / factor[a, a]
            cost = 0.0
            for i in range(n):
                residual = y[i]
                for a in range(p):
                    residual -= scaled[i, a] * found[c, a]
                root = np.sqrt(1 + (residual / delta) ** 2)
                weights[i] = 1 / root
                cost += root - 1
            costs[c] = cost / n
        for a in range(p):
            found[c, a] /= size[a]
    return found, costs
