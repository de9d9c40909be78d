"""Recourse for small networks: what deletions do to the linearised network, or to a local linear surrogate.

Krishna, Ma and Lakkaraju, ICML 2023, section 4; the linearisation in the parameters is the neural tangent kernel of
Jacot, Gabriel and Hongler, NeurIPS 2018; the surrogate is LIME's (Ribeiro, Singh and Guestrin, KDD 2016). All numbers
are float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from winnow.attribution.influence import influence_of, ridge_penalty, with_intercept
from winnow.attribution.least_squares import weighted_least_squares
from winnow.errors import InputError
from winnow.evaluate.recourse_search import Margins, wachter
from winnow.evaluate.robust_recourse import Cuts, roar, robust_recourse
from winnow.evaluate.softplus_network import SoftplusNetwork, minimise
from winnow.randomness import torch_generator

DAMPING = 0.01
"""Added to the Gauss-Newton Hessian of a network, as the authors do."""
MAX_PARAMETERS = 2500
REFIT_STEPS = 300
STRETCH = 8.0
"""How many times as far a surrogate's recourse may have to go until the network accepts it."""


class FittedNetwork:
    """A network on its training rows: x float64[n, d], y float64[n] of 0 and 1; `influence` is its linearisation's."""

    def __init__(self, x: np.ndarray, y: np.ndarray, ridge: float, seed: int, width: int | None = None) -> None:
        self.network = SoftplusNetwork(x.shape[1], width or 2 * x.shape[1])
        if self.network.parameters > MAX_PARAMETERS:
            raise InputError(
                f"network: {self.network.parameters} parameters make a Hessian too large to invert; "
                f"at most {MAX_PARAMETERS}: use fewer columns, or leave the network out"
            )
        self.x, self.y, self.ridge = torch.from_numpy(x), torch.from_numpy(y), ridge
        self.theta = self.network.fit(self.x, self.y, ridge, self.network.initial(seed))
        penalty = self.network.penalty(ridge).numpy()
        design = self.network.gradients(self.theta, self.x).numpy()
        self.influence = influence_of(
            self.theta.numpy(), design, self.network(self.theta, self.x).numpy(), y, penalty, damping=DAMPING
        )

    def outputs(self, points: Tensor, thetas: Tensor) -> Tensor:
        """Outputs [q, m] of points [q, d], each under parameters of its own [q, m, p]."""
        return self.network(thetas, points[:, None, None]).squeeze(-1)

    def least(self, thetas: Tensor) -> Margins:
        """The least output of each query's own parameters [q, m, p]."""
        return lambda points: self.outputs(points, thetas).amin(dim=-1)

    def shifted(self, points: np.ndarray, k: int) -> Tensor:
        """Parameters [q, p] without the k rows that are worst at each point, to first order."""
        phis = self.network.gradients(self.theta, torch.from_numpy(points)).numpy()
        thetas = [self.influence.without(self.influence.worst(phi, k)) for phi in phis]
        return torch.from_numpy(np.stack(thetas))

    def refits(self, deleted: np.ndarray) -> Tensor:
        """Parameters [q, p] truly fitted without the rows that each of bool[q, n] marks, from the first-order guess on.

        All fits side by side by L-BFGS, in coordinates in which the Hessian of the whole fit is the identity.
        """
        kept = torch.from_numpy(~deleted).double() / len(self.y)
        signs, penalty = 1 - 2 * self.y, self.network.penalty(self.ridge)
        root = torch.from_numpy(np.linalg.cholesky(np.linalg.inv(self.influence.hessian)))
        guess = torch.from_numpy(np.stack([self.influence.without(np.flatnonzero(rows)) for rows in deleted]))
        moved = torch.zeros_like(guess).requires_grad_()

        def objective() -> Tensor:
            theta = guess + moved @ root.T
            losses = torch.nn.functional.softplus(signs * self.network(theta, self.x))
            total: Tensor = (kept * losses).sum() + (penalty * theta**2).sum() / 2
            return total

        minimise(objective, moved, REFIT_STEPS)
        return (guess + moved @ root.T).detach()

    def deletions(self, points: np.ndarray, k: int) -> np.ndarray:
        """bool[q, n]: the rows that are worst at each point, to first order."""
        phis = self.network.gradients(self.theta, torch.from_numpy(points)).numpy()
        rows = np.arange(len(self.x))
        return np.stack([np.isin(rows, self.influence.worst(phi, k)) for phi in phis])


def network_recourse(
    model: FittedNetwork, x: np.ndarray, k: int, *, rounds: int = 1, margin: float = 1e-3
) -> np.ndarray:
    """Points [q, d] that the network and its shifted copies accept, by Wachter's descent; NaN where none is found.

    x: float64[q, d]. The rows are those that are worst at x, as published; each further round adds the copy without the
    rows that are worst at the point so far. k = 0 asks the network alone.
    """
    queries = torch.from_numpy(x)
    thetas = model.theta.expand(len(x), 1, -1)
    points = x
    for _ in range(rounds if k else 1):
        if k:
            known = np.where(np.isfinite(points), points, x)
            thetas = torch.cat([thetas, model.shifted(known, k)[:, None]], dim=1)
        points = wachter(queries, model.least(thetas), margin=margin).numpy()
    return points


def surrogates(model: FittedNetwork, x: np.ndarray, seed: int, samples: int = 1000) -> np.ndarray:
    """Local linear models [q, d + 1] around each row, the intercept last: LIME's least squares on the logit.

    Samples are Gaussian with deviation 1 around each row of x [q, d]; their weight is exp(-distance^2 / width^2) with
    width .75 sqrt(d), LIME's default for tables.
    """
    d = x.shape[1]
    noise = torch.randn((samples, d), generator=torch_generator(seed, "recourse surrogates"), dtype=torch.float64)
    points = torch.from_numpy(x)[:, None] + noise
    targets = model.network(model.theta, points)
    weights = torch.exp(-(noise**2).sum(dim=1) / (0.75**2 * d)).expand(len(x), -1)
    fit = weighted_least_squares(points, targets, weights, ridge=1e-6)
    return torch.cat([fit.coefficients, fit.bias[:, None]], dim=1).numpy()


def surrogate_recourse(
    model: FittedNetwork,
    x: np.ndarray,
    k: int,
    seed: int,
    *,
    cuts: Cuts = "query",
    delta: float | None = None,
    margin: float = 1e-3,
) -> np.ndarray:
    """Points [q, d] by the linear method on each row's surrogate, moved on along the same line until the network
    accepts.

    x: float64[q, d]. delta: ROAR on the surrogate, and k is not used. NaN where the surrogate has no recourse, or the
    network accepts nothing up to 8 times as far.
    """
    penalty = ridge_penalty(model.ridge, x.shape[1] + 1)
    design, y = with_intercept(model.x.numpy()), model.y.numpy()
    found = np.full_like(x, np.nan)
    for i, theta in enumerate(surrogates(model, x, seed)):
        if delta is not None:
            recourse = roar(x[i], theta, delta, margin=margin)
        else:
            local = influence_of(theta, design, design @ theta, y, penalty)
            recourse = robust_recourse(x[i], local, k, cuts=cuts, margin=margin)
        if recourse.point is not None:
            found[i] = recourse.point
    return _until_accepted(model, x, found, margin)


def _until_accepted(model: FittedNetwork, x: np.ndarray, points: np.ndarray, margin: float) -> np.ndarray:
    """The points, stretched away from x by the least factor, from 1 to 8, at which the network puts out `margin`."""

    def accepts(factor: np.ndarray) -> np.ndarray:
        moved = x + factor[:, None] * (points - x)
        return (model.network(model.theta, torch.from_numpy(moved)) >= margin).numpy()

    low, high = np.ones(len(x)), np.full(len(x), STRETCH)
    now, possible = accepts(low), accepts(high)
    for _ in range(40):
        middle = (low + high) / 2
        good = accepts(middle)
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    factor = np.where(now, 1.0, np.where(possible, high, np.nan))
    return x + factor[:, None] * (points - x)


def network_validity(model: FittedNetwork, points: np.ndarray, k: int) -> np.ndarray:
    """Outputs float64[q] at the points after their k worst rows are erased and the network is truly fitted again."""
    found = np.isfinite(points).all(axis=1)
    least = np.full(len(points), np.nan)
    if found.any():
        known = points[found]
        thetas = model.refits(model.deletions(known, k))
        least[found] = model.outputs(torch.from_numpy(known), thetas[:, None])[:, 0].numpy()
    return least
