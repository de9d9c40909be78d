"""Template regression: which family of functions, with which numbers, gives the answers that were seen.

Our own interpreter of FIND's numeric functions (Schwettmann et al., NeurIPS 2023). Numbers that enter linearly are
solved for in closed form (variable projection: G. Golub, V. Pereyra, SIAM Journal on Numerical Analysis 1973), the
others are searched on grids that close in from at most eight starts. Fits are robust (soft-L1, by reweighting),
families are compared by BIC.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from winnow.evaluate._robust_fits import robust_fits
from winnow.evaluate.find_families import FAMILIES, PARTS, Columns, Family, pairs_of
from winnow.workloads.find_numeric import EDGE, Tree, values

STARTS, ROUNDS = 8, 6
BEST = 5  # families that are refined, and that sums and products begin with
COARSE = 300  # most starts that are tried for a second term, of which there are many
EXACT = 0.95  # share of answers at the noise's level that ends the search


class Fit(NamedTuple):
    """A tree, its robust cost, its BIC (lower is better), residuals of all answers, and where it is from."""

    tree: Tree
    cost: float
    bic: float
    residuals: np.ndarray
    family: Family | None = None
    theta: np.ndarray | None = None


def _refined(columns: Columns, x: np.ndarray, y: np.ndarray, delta: float, theta: np.ndarray) -> np.ndarray:
    """Nonlinear numbers [d]: the best of a grid, then of ever finer grids about the best few."""
    _, costs = robust_fits(columns(theta, x), y, delta, 2)
    if not theta.shape[1]:
        return theta[0]
    step = np.array([_spacing(theta[:, k]) for k in range(theta.shape[1])])
    order = np.argsort(costs, kind="stable")
    best, least = theta[order[:STARTS]], costs[order[0]]
    chosen = best[0]
    marks = np.linspace(-1, 1, 9 if len(step) == 1 else 5)
    offsets = marks[:, None] if len(step) == 1 else pairs_of(marks, marks)
    for round_ in range(ROUNDS):
        tried = (best[:, None] + offsets * step).reshape(-1, len(step))
        _, costs = robust_fits(columns(tried, x), y, delta, 3)
        order = np.argsort(costs, kind="stable")
        best = tried[order[: max(1, STARTS >> round_)]]
        if costs[order[0]] < least:
            chosen, least = best[0], costs[order[0]]
        step = step * 0.4
    return chosen


def _spacing(grid: np.ndarray) -> float:
    different = np.unique(grid)
    return float(np.median(np.diff(different))) if len(different) > 1 else 1.0


def score(tree: Tree, x: np.ndarray, y: np.ndarray, delta: float) -> Fit:
    """A tree's robust cost and BIC on answers. The floor is what noise of the size of delta costs."""
    residuals = y - values(tree, x)
    if not np.isfinite(residuals).all():
        return Fit(tree, np.inf, np.inf, residuals)
    cost = float((np.sqrt(1 + (residuals / delta) ** 2) - 1).mean())
    return Fit(tree, cost, 2 * len(x) * np.log(cost + 0.1) + size_of(tree) * np.log(len(x)), residuals)


def size_of(tree: Tree) -> int:
    """Numbers of a tree, and one for each family in it."""
    return sum(size_of(part) if isinstance(part, list) else 1 for part in tree)


def rounded(tree: Tree, digits: int) -> Tree:
    """A tree with its numbers rounded."""
    return [
        rounded(part, digits)
        if isinstance(part, list)
        else round(part, digits) + 0.0
        if isinstance(part, float)
        else part
        for part in tree
    ]


def tidy(fit: Fit, x: np.ndarray, y: np.ndarray, delta: float) -> Fit:
    """The fit with fewer digits, where that costs next to nothing."""
    for digits in (1, 2, 3):
        other = score(rounded(fit.tree, digits), x, y, delta)
        if other.cost <= 1.02 * fit.cost + 0.01:
            return other
    return fit


def noise_scale(y: np.ndarray, repeated: np.ndarray) -> float:
    """delta of the fits: the deviation of repeated answers, and not below a thousandth of the answers' spread."""
    spread = float(np.subtract(*np.percentile(y, [75, 25]))) or float(np.ptp(y)) or max(1.0, float(np.abs(y).max()))
    return max(float(np.nan_to_num(np.std(repeated, ddof=1))), 1e-3 * spread, 1e-9)


def single_fits(x: np.ndarray, y: np.ndarray, delta: float) -> list[Fit]:
    """Fits of one family each, best first."""
    coarse = []
    for family in FAMILIES.values():
        theta = family.grid(x, y)
        coefficients, costs = robust_fits(family.columns(theta, x), y, delta, 2)
        best = int(np.argmin(costs))
        if np.isfinite(costs[best]):
            penalty = (coefficients.shape[1] + theta.shape[1]) * np.log(len(x))
            coarse.append((2 * len(x) * np.log(costs[best] + 0.1) + penalty, family, theta))
    coarse.sort(key=lambda found: found[0])
    fits = [
        finished(family, x, y, delta, _refined(family.columns, x, y, delta, theta))
        for _, family, theta in coarse[:BEST]
    ]
    fits += [
        fit for orders in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4)) if (fit := rational(x, y, delta, *orders))
    ]
    return sorted(fits, key=lambda fit: fit.bic)


def finished(family: Family, x: np.ndarray, y: np.ndarray, delta: float, theta: np.ndarray) -> Fit:
    """The fit of given nonlinear numbers, or of these rounded to a tenth where that is no worse."""
    fits = []
    for chosen in (np.round(theta, 1), theta):
        coefficients, costs = robust_fits(family.columns(chosen[None], x), y, delta, 12)
        if np.isfinite(costs[0]):
            fits.append(tidy(score(family.tree(chosen, coefficients[0]), x, y, delta), x, y, delta))
    return min(fits, key=lambda fit: fit.cost)._replace(family=family, theta=theta)


def rational(x: np.ndarray, y: np.ndarray, delta: float, top: int, low: int) -> Fit | None:
    """Polynomial of order top over one of order low, by iterated linearisation (Sanathanan and Koerner, 1963)."""
    if len(x) < top + low + 3:
        return None
    powers = (x / EDGE)[:, None] ** np.arange(low + 1)
    weights = np.ones(len(x))
    for _ in range(6):
        design = np.column_stack([powers[:, : top + 1], -y[:, None] * powers[:, :low]]) * weights[:, None]
        if not np.isfinite(design).all():
            return None
        found = np.linalg.lstsq(design, y * powers[:, low] * weights, rcond=None)[0]
        bottom = powers[:, :low] @ found[top + 1 :] + powers[:, low]
        bottom = np.where(np.abs(bottom) < 1e-9, 1e-9, bottom)
        residual = np.minimum(np.abs(y - (powers[:, : top + 1] @ found[: top + 1]) / bottom) / delta, 1e9)
        weights = 1 / (np.abs(bottom) * np.sqrt(1 + residual))
        weights = weights / weights.max()
    numbers = [float(n) for n in found]
    upper = [n / EDGE**k for k, n in enumerate(numbers[: top + 1])]
    lower = [n / EDGE**k for k, n in enumerate([*numbers[top + 1 :], 1.0])]
    scale = max(map(abs, lower))
    return score(["rational", [n / scale for n in upper], [n / scale for n in lower]], x, y, delta)


def exact(fit: Fit, delta: float) -> bool:
    """Whether nearly all answers are met to the noise's level: then no further search is needed."""
    return bool(np.mean(np.abs(fit.residuals) <= 4 * delta) >= EXACT)


def pair_fits(singles: list[Fit], x: np.ndarray, y: np.ndarray, delta: float) -> list[Fit]:
    """Fits of sums and products of a first term, one of the best families, and a second."""
    found = []
    for first in [fit for fit in singles if fit.family is not None][:BEST]:
        for name in PARTS:
            found += _pair_of(first, FAMILIES[name], x, y, delta)
    return sorted(found, key=lambda fit: fit.bic)


def _pair_of(first: Fit, second: Family, x: np.ndarray, y: np.ndarray, delta: float) -> list[Fit]:
    assert first.family is not None and first.theta is not None
    held = first.family.columns(first.theta[None], x)[0]
    theta = second.grid(x, first.residuals)
    theta = theta[:: 1 + len(theta) // COARSE]
    if not len(theta) or held.shape[1] * second.columns(theta[:1], x).shape[2] > len(x) / 3:
        return []

    def crossed(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Products of all pairs of columns: what a sum or a product of the two can be."""
        columns = second.columns(theta, x)
        return (held[None, :, :, None] * columns[:, :, None, :]).reshape(len(columns), len(x), -1)

    chosen = _refined(crossed, x, y, delta, theta)
    return [
        fit
        for numbers in (np.round(chosen, 1), chosen)
        for fit in (_sum(first, second, numbers, x, y, delta), _product(first, second, numbers, x, y, delta))
        if np.isfinite(fit.bic)
    ]


def _sum(first: Fit, second: Family, theta: np.ndarray, x: np.ndarray, y: np.ndarray, delta: float) -> Fit:
    assert first.family is not None and first.theta is not None
    held, columns = first.family.columns(first.theta[None], x), second.columns(theta[None], x)
    varying = np.ptp(columns[0], axis=0) > 0  # the first term has the constant already
    coefficients, _ = robust_fits(np.concatenate([held, columns[:, :, varying]], 2), y, delta, 12)
    theirs = np.zeros(columns.shape[2])
    theirs[varying] = coefficients[0, held.shape[2] :]
    tree = ["sum", first.family.tree(first.theta, coefficients[0, : held.shape[2]]), second.tree(theta, theirs)]
    return tidy(score(tree, x, y, delta), x, y, delta)


def _product(first: Fit, second: Family, theta: np.ndarray, x: np.ndarray, y: np.ndarray, delta: float) -> Fit:
    """One factor is solved for while the other is held, in turns, from the best pair of factors of the free fit."""
    assert first.family is not None and first.theta is not None
    one, two = first.family.columns(first.theta[None], x)[0], second.columns(theta[None], x)[0]
    free, _ = robust_fits((one[:, :, None] * two[:, None, :]).reshape(1, len(x), -1), y, delta, 12)
    _, _, rows = np.linalg.svd(free.reshape(one.shape[1], two.shape[1]))
    right = rows[0]
    for _ in range(4):
        left = robust_fits((one * (two @ right)[:, None])[None], y, delta, 6)[0][0]
        right = robust_fits((two * (one @ left)[:, None])[None], y, delta, 6)[0][0]
    largest = np.abs(right).max()
    if largest > 0:
        left, right = left * largest, right / largest
    tree = ["product", first.family.tree(first.theta, left), second.tree(theta, right)]
    return tidy(score(tree, x, y, delta), x, y, delta)
