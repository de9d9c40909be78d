"""Fitting an interpretable function to a black box around many points at once, in float64.

Linear functions have closed forms; logistic ones are found by Levenberg and Marquardt's method (Marquardt, "An
Algorithm for Least-Squares Estimation of Nonlinear Parameters", 1963). `adam_grid` is the search of Han, Srinivas and
Lakkaraju, "Which Explanation Should I Choose? A Function Approximation Perspective to Characterizing Post Hoc
Explanations", NeurIPS 2022, as their code runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from winnow.attribution.least_squares import Fit, effective_samples, weighted_least_squares

ITERATIONS = 200
DAMPING = 1e-3
LARGEST_DAMPING = 1e9
"""Steps are then too short to matter."""
CONVERGED = 1e-14
"""Relative fall of the loss below which a fit is done."""
LEARNING_RATES = (1.0, 0.5)
DECAYS = (0.5, 0.1)
MILESTONES = ((30, 40), (40, 45))
EPOCHS = 50
BATCH = 128
TRAIN_SHARE = 0.8

Objective = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Parameters [n, p] -> loss [n], half its gradient by draw [n, m, p], half its Gauss-Newton Hessian [n, p, p]."""


def mean_gradients(gradients: Tensor, weights: Tensor) -> Fit:
    """The linear function that matches gradients best: their weighted mean.

    gradients: [n, m, d]. weights: [n, m]. bias is 0, since gradients tell nothing of it; the error is the standard
    error of the weighted mean.
    """
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    mean = (share * gradients).sum(1)
    off = gradients - mean[:, None]
    m = gradients.shape[1]
    error = ((share * off) ** 2).sum(1) * (m / (m - 1) if m > 1 else float("nan"))
    loss = (share[..., 0] * (off**2).sum(-1)).sum(1)
    return Fit(mean, torch.zeros(len(mean), dtype=mean.dtype), error.sqrt(), loss, effective_samples(weights))


def logistic_fit(
    z: Tensor, values: Tensor, weights: Tensor, *, bias: bool = True, gradients: Tensor | None = None
) -> Fit:
    """g(z) = sigmoid(w z + b) nearest to values in [0, 1], or, where given, to gradients.

    z: [n, m, d]. values, weights: [n, m]. gradients: [n, m, d] of the black box with respect to z. The start is the
    linear fit to the log-odds, which is the answer where the black box is itself logistic.
    """
    share = weights / weights.sum(1, keepdim=True)
    tiny = 1e-12
    odds = torch.logit(values.clamp(tiny, 1 - tiny))
    # Far out in the tails the log-odds of a black box say little; they count by how much a change of them shows.
    slope = (values * (1 - values)).clamp_min(tiny)
    start = weighted_least_squares(z, odds, share * slope**2, bias=bias)
    extended = torch.cat([z, torch.ones_like(z[..., :1])], -1) if bias else z
    parameters = torch.cat([start.coefficients, start.bias[:, None]], -1) if bias else start.coefficients
    if gradients is None:
        objective = _matching_values(extended, values, share)
    else:
        objective = _matching_gradients(extended, gradients, share)
    found = _levenberg_marquardt(objective, parameters)
    loss, scores, curvature = objective(found)
    # The curvature may be near singular: where g is saturated the loss does not depend on the weights.
    bread = torch.linalg.pinv(curvature, hermitian=True)
    m, p = scores.shape[1:]
    spread = (bread @ scores.mT @ scores @ bread).diagonal(dim1=-2, dim2=-1).clamp_min(0)
    error = (spread * (m / (m - p) if m > p else float("nan"))).sqrt()
    d = z.shape[-1]
    intercept = found[:, d] if bias else torch.zeros(len(found), dtype=found.dtype)
    return Fit(found[:, :d], intercept, error[:, :d], loss, effective_samples(weights))


def _matching_values(z: Tensor, values: Tensor, share: Tensor) -> Objective:
    def objective(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g = torch.sigmoid((z @ parameters[..., None])[..., 0])
        off, slope = values - g, g * (1 - g)
        scores = -(share * off * slope)[..., None] * z
        curvature = torch.einsum("nm,nmp,nmq->npq", share * slope**2, z, z)
        return (share * off**2).sum(1), scores, curvature

    return objective


def _matching_gradients(z: Tensor, gradients: Tensor, share: Tensor) -> Objective:
    d = gradients.shape[-1]
    pick = torch.eye(z.shape[-1], d, dtype=z.dtype)  # parameters x weights: leaves the bias out

    def objective(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w = parameters[:, :d]
        g = torch.sigmoid((z @ parameters[..., None])[..., 0])
        first = g * (1 - g)
        second = first * (1 - 2 * g)
        off = gradients - first[..., None] * w[:, None]
        # Each residual vector's Jacobian is -(g' I + g'' w z').
        along = torch.einsum("nmd,nd->nm", off, w)
        scores = -((share * first)[..., None] * off @ pick.mT + (share * second * along)[..., None] * z)
        cross = torch.einsum("np,nq->npq", w @ pick.mT, torch.einsum("nm,nmp->np", share * first * second, z))
        outer = torch.einsum("nm,nmp,nmq->npq", share * second**2, z, z) * (w**2).sum(1)[:, None, None]
        curvature = (share * first**2).sum(1)[:, None, None] * (pick @ pick.mT) + cross + cross.mT + outer
        return (share * (off**2).sum(-1)).sum(1), scores, curvature

    return objective


def _levenberg_marquardt(objective: Objective, parameters: Tensor) -> Tensor:
    """A minimum of every problem's loss, from parameters [n, p]; problems step side by side, each with its damping."""
    loss, scores, curvature = objective(parameters)
    gradient = scores.sum(1)
    damping = torch.full_like(loss, DAMPING)
    eye = torch.eye(parameters.shape[1], dtype=parameters.dtype)
    for _ in range(ITERATIONS):
        scale = curvature.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300)
        damped = curvature + (damping[:, None] * scale)[..., None] * eye
        tried = parameters + torch.linalg.solve(damped, -gradient[..., None])[..., 0]
        new_loss, new_scores, new_curvature = objective(tried)
        better = new_loss < loss
        done = (loss - new_loss <= CONVERGED * loss) & (better | (damping >= LARGEST_DAMPING))
        parameters = torch.where(better[:, None], tried, parameters)
        gradient = torch.where(better[:, None], new_scores.sum(1), gradient)
        curvature = torch.where(better[:, None, None], new_curvature, curvature)
        loss = torch.where(better, new_loss, loss)
        damping = torch.where(better, damping / 3, damping * 4).clamp(1e-12, LARGEST_DAMPING)
        if bool(done.all()):
            break
    return parameters


def adam_grid(
    z: Tensor,
    values: Tensor,
    weights: Tensor,
    *,
    bias: bool,
    logistic: bool = False,
    gradients: Tensor | None = None,
    generator: torch.Generator,
) -> Fit:
    """The authors' search: Adam from eight settings, the state of lowest validation loss for each point.

    z: [n, m, d]. values, weights: [n, m]. gradients: [n, m, d], matched in place of values where given. Points are
    searched side by side: their parameters never meet, so each ends where it would by itself. No error is estimated.
    """
    n, m, d = z.shape
    order = torch.randperm(m, generator=generator)
    train, held_out = order[: int(TRAIN_SHARE * m)], order[int(TRAIN_SHARE * m) :]
    best = torch.full((n,), float("inf"), dtype=z.dtype)
    kept_w, kept_b = torch.zeros(n, d, dtype=z.dtype), torch.zeros(n, dtype=z.dtype)

    def losses(w: Tensor, b: Tensor, rows: Tensor) -> Tensor:
        line = (z[:, rows] @ w[..., None])[..., 0] + b[:, None]
        g = torch.sigmoid(line) if logistic else line
        if gradients is None:
            part = weights[:, rows]
            return ((g - values[:, rows]) ** 2 * part / part.sum(1, keepdim=True)).sum(1) / 2
        slope = (g * (1 - g))[..., None] * w[:, None] if logistic else w[:, None]
        return ((gradients[:, rows] - slope) ** 2).sum((1, 2))

    for rate, decay, milestones in product(LEARNING_RATES, DECAYS, MILESTONES):
        bound = (6 / (d + 1)) ** 0.5  # Xavier's, for d inputs and one output
        w = ((torch.rand(n, d, generator=generator, dtype=z.dtype) * 2 - 1) * bound).requires_grad_()
        b = torch.zeros(n, dtype=z.dtype, requires_grad=bias)
        updater = torch.optim.Adam([w, b] if bias else [w], lr=rate)
        schedule = torch.optim.lr_scheduler.MultiStepLR(updater, list(milestones), decay)
        for _ in range(EPOCHS):
            shuffled = train[torch.randperm(len(train), generator=generator)]
            for rows in shuffled.split(BATCH):
                updater.zero_grad()
                losses(w, b, rows).sum().backward()
                updater.step()
            schedule.step()
            with torch.no_grad():
                now = torch.stack([losses(w, b, rows) for rows in held_out.split(BATCH)]).sum(0)
                better = now < best
                best = torch.where(better, now, best)
                kept_w = torch.where(better[:, None], w, kept_w)
                kept_b = torch.where(better, b, kept_b)
    with torch.no_grad():
        final = losses(kept_w, kept_b, torch.arange(m))
    return Fit(kept_w, kept_b, torch.full_like(kept_w, float("nan")), final, effective_samples(weights))
