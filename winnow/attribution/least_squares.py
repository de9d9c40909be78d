"""Weighted least squares in float64, many problems at once, with exact equality constraints.

Constraints are eliminated through the null space instead of being weighted heavily: Lawson and Hanson, "Solving
Least Squares Problems", 1974. Standard errors are those of White, "A Heteroskedasticity-Consistent Covariance
Matrix Estimator and a Direct Test for Heteroskedasticity", Econometrica, 1980.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError

RANK_TOLERANCE = 1e-10


class Fit(NamedTuple):
    """Solutions of several least-squares problems, float64; the leading axes are those of the problems."""

    coefficients: Tensor
    """[..., d]"""
    bias: Tensor
    """[...]; 0 where none was fitted."""
    error: Tensor
    """[..., d] standard errors of the coefficients, due to the random draws alone."""
    loss: Tensor
    """[...] weighted mean of the squared residuals."""
    effective_samples: Tensor
    """[...] (sum of weights)^2 / sum of squared weights (Kish, 1965)."""


def effective_samples(weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 over the last axis; 0 where all weights are 0."""
    # Scaled first: the squares of tiny weights underflow long before the weights do.
    scaled = weights / weights.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return scaled.sum(-1) ** 2 / (scaled**2).sum(-1).clamp_min(torch.finfo(weights.dtype).tiny)


def weighted_least_squares(
    design: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    bias: bool = True,
    ridge: float = 0.0,
    draws: Tensor | None = None,
    constraint: tuple[Tensor, Tensor] | None = None,
) -> Fit:
    """Minimise sum_i w_i (y_i - b - z_i c)^2 + ridge |c|^2, subject to C c = e exactly.

    design z: [..., m, d]. target y and weights w: [..., m], at least 0; leading axes broadcast, and problems that
    share design and weights are factorised once. bias: whether b is fitted (never penalised) or 0.
    draws: int64[m], which independent draw a row belongs to, and -1 for rows that are not random; by default every row
    is a draw of its own. constraint: (C[k, d], e[..., k]). All but draws are taken as float64.
    Raises InputError for values that are not finite, a negative weight, and, without ridge, rows of positive weight
    that do not span the coefficients; it then names the effective number of samples.
    """
    z, y, w = (torch.as_tensor(part, dtype=torch.float64) for part in (design, target, weights))
    if not all(_is_finite(part) for part in (z, y, w)) or (w < 0).any():
        raise InputError("least squares: a value is NaN or infinite, or a weight negative; check the model's output")
    z_mean, y_mean = _means(z, y, w, bias)
    z, y = z - z_mean[..., None, :], y - y_mean[..., None]
    start, basis = torch.zeros(z.shape[-1], dtype=z.dtype), torch.eye(z.shape[-1], dtype=z.dtype)
    if constraint is not None:
        start, basis = _feasible(*constraint)
    reduced = z if constraint is None else z @ basis
    root = w.sqrt()[..., None]
    rows = reduced * root
    if ridge:
        rows = _with_penalty(rows, ridge**0.5 * basis)
    q, r = torch.linalg.qr(rows)
    _require_rank(r, w)
    right = root * (y if constraint is None else y - (z @ start[..., None]).squeeze(-1))[..., None]
    if ridge:
        # `start` is orthogonal to the free directions, so the penalty pulls these to 0.
        right = _with_penalty(right, right.new_zeros(z.shape[-1], 1))
    free = torch.linalg.solve_triangular(r, q.mT @ right, upper=True)
    coefficients = start + (basis @ free).squeeze(-1)
    residuals = y - (z @ coefficients[..., None]).squeeze(-1)
    inverse = torch.linalg.solve_triangular(r, torch.eye(r.shape[-1], dtype=r.dtype).expand_as(r), upper=True)
    total = w.sum(-1)
    return Fit(
        coefficients,
        y_mean - (z_mean * coefficients).sum(-1),
        # q is the free directions times the roots of the weights, orthonormalised.
        _robust_errors(q[..., : z.shape[-2], :] * (root * residuals[..., None]), basis @ inverse, draws),
        (w * residuals**2).sum(-1) / total,
        effective_samples(w),
    )


def _is_finite(part: Tensor) -> bool:
    # A sum is quick; only where it is not finite do the entries decide.
    return bool(torch.isfinite(part.sum()) or torch.isfinite(part).all())


def _means(z: Tensor, y: Tensor, w: Tensor, bias: bool) -> tuple[Tensor, Tensor]:
    """Weighted means that leave a bias to be added afterwards; zeros where there is none."""
    if not bias:
        return torch.zeros_like(z[..., 0, :]), torch.zeros_like(y[..., 0])
    share = w / w.sum(-1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
    return (share[..., None, :] @ z).squeeze(-2), (share * y).sum(-1)


def _feasible(constraint: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The shortest c with C c = e, and an orthonormal basis [d, d - k] of the directions that keep it so."""
    c, e = torch.as_tensor(constraint, dtype=torch.float64), torch.as_tensor(value, dtype=torch.float64)
    count = len(c)
    q, r = torch.linalg.qr(c.mT, mode="complete")
    inner = torch.linalg.solve_triangular(r[:count].mT, e[..., None], upper=False)
    return (q[:, :count] @ inner).squeeze(-1), q[:, count:]


def _with_penalty(rows: Tensor, penalty: Tensor) -> Tensor:
    lead = torch.broadcast_shapes(rows.shape[:-2], penalty.shape[:-2])
    return torch.cat([rows.expand(*lead, *rows.shape[-2:]), penalty.expand(*lead, *penalty.shape[-2:])], dim=-2)


def _require_rank(r: Tensor, w: Tensor) -> None:
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    rank_is_short = r.shape[-2] < r.shape[-1] or not (diagonal.amin(-1) > RANK_TOLERANCE * diagonal.amax(-1)).all()
    if rank_is_short:
        found = float(effective_samples(w).min())
        raise InputError(
            f"least squares: {found:.3g} effective samples of {w.shape[-1]} do not span {r.shape[-1]} coefficients; "
            "widen the kernel, draw more samples, or use noise that moves every feature by itself"
        )


def _robust_errors(scores: Tensor, root: Tensor, draws: Tensor | None) -> Tensor:
    """Sandwich estimate: the linear model is wrong on purpose, so residuals do not have one variance.

    scores: [..., m, p], weighted residuals times the free directions orthonormalised, and root: [..., d, p], the way
    back from them.
    """
    if draws is not None:
        random = draws >= 0
        count = int(draws.max()) + 1
        together = torch.zeros(*scores.shape[:-2], count, scores.shape[-1], dtype=scores.dtype)
        scores = together.index_add(-2, draws[random], scores[..., random, :])
    count, freedom = scores.shape[-2], scores.shape[-2] - (1 if draws is not None else root.shape[-1])
    if count == 0:
        return torch.zeros(*scores.shape[:-2], root.shape[-2], dtype=scores.dtype)
    # Draws from one part of the rows have scores that need not sum to 0.
    scores = scores - scores.mean(-2, keepdim=True)
    spread = root @ (scores.mT @ scores) @ root.mT
    correction = count / freedom if freedom > 0 else float("nan")
    return (correction * spread.diagonal(dim1=-2, dim2=-1).clamp_min(0)).sqrt()
