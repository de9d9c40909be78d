"""Recourses by search, for any differentiable model: Wachter's descent, and growing spheres in a latent space.

Wachter, Mittelstadt and Russell, "Counterfactual Explanations without Opening the Black Box", Harvard Journal of Law
and Technology, 2018. Pawelczyk, Broelemann and Kasneci, "Learning Model-Agnostic Counterfactual Explanations for
Tabular Data" (C-CHVAE), WWW 2020; Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014. All numbers are
float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from winnow.randomness import torch_generator

Margins = Callable[[Tensor], Tensor]
"""Points [q, ..., d], one row a query -> outputs [q, ...] of the least favourable model that each query has to
satisfy."""
ABOVE = 1e-2
NOISE = 0.1
"""Variance of what a decoder puts out around a standardised row."""


def wachter(
    x: Tensor,
    least_output: Margins,
    *,
    margin: float = 1e-3,
    penalty: float = 2.5,
    learning_rate: float = 0.5,
    phases: int = 14,
    steps: int = 100,
) -> Tensor:
    """The nearest valid points that a penalised descent passes: [q, d], NaN where it passes none.

    x: [q, d]. Each phase descends with Adam from x on relu(aim - f(x'))^2 + penalty |x' - x|, its learning rate
    falling along a cosine; the aim lies .01 above the margin, since the square never quite reaches its aim. While all
    phases of a query ended valid its penalty doubles, while none did it halves; between a valid and an invalid one it
    is their geometric mean.
    """
    count = len(x)
    low, high = torch.zeros(count, dtype=x.dtype), torch.full((count,), torch.inf, dtype=x.dtype)
    weight = torch.full((count,), penalty, dtype=x.dtype)
    best, best_cost = torch.full_like(x, torch.nan), torch.full((count,), torch.inf, dtype=x.dtype)
    for _ in range(phases):
        point = x.clone().requires_grad_()
        optimizer = torch.optim.Adam([point], lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            short = (margin + ABOVE - least_output(point)).relu()
            distance = ((point - x) ** 2).sum(dim=1).add(1e-24).sqrt()
            optimizer.zero_grad(set_to_none=True)
            (short**2 + weight * distance).sum().backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                cost = (point - x).norm(dim=1)
                valid = least_output(point) >= margin
                nearer = valid & (cost < best_cost)
                best[nearer], best_cost[nearer] = point.detach()[nearer], cost[nearer]
                passed = valid
        low, high = torch.where(passed, weight, low), torch.where(passed, high, weight)
        between = torch.where(low > 0, (low * high).sqrt(), weight / 2)
        weight = torch.where(high.isinf(), 2 * weight, between)
    return best


class VariationalAutoencoder(nn.Module):
    """Rows [n, d] and a Gaussian latent space of `latent` dimensions, one hidden layer each way."""

    def __init__(self, d: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, d))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [n, latent] each."""
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        return mean, log_variance


def fit_autoencoder(
    x: Tensor, seed: int, *, latent: int = 8, hidden: int = 32, steps: int = 1500, learning_rate: float = 5e-3
) -> VariationalAutoencoder:
    """A variational autoencoder of the rows x [n, d], by full-batch Adam on the evidence lower bound."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(seed, "recourse autoencoder").initial_seed())
        model = VariationalAutoencoder(x.shape[1], min(latent, x.shape[1]), hidden).to(x.dtype)
    generator = torch_generator(seed, "recourse autoencoder noise")
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        mean, log_variance = model.encode(x)
        noise = torch.randn(mean.shape, generator=generator, dtype=x.dtype)
        decoded = model.decoder(mean + (log_variance / 2).exp() * noise)
        divergence = (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1) / 2
        loss = (((decoded - x) ** 2).sum(dim=1) / (2 * NOISE) + divergence).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def cchvae(
    x: Tensor,
    least_output: Margins,
    model: VariationalAutoencoder,
    seed: int,
    *,
    margin: float = 1e-3,
    step: float = 0.05,
    samples: int = 1000,
    shells: int = 200,
) -> Tensor:
    """The nearest valid decodings in the first latent shell around each query that holds one: [q, d], NaN where none
    does.

    x: [q, d]. Shells are `step` thick and `samples` codes are drawn in each, uniform in direction and in radius.
    """
    generator = torch_generator(seed, "growing spheres")
    codes, _ = model.encode(x)
    found, waiting = torch.full_like(x, torch.nan), torch.arange(len(x))
    for shell in range(shells):
        if not len(waiting):
            break
        # Drawn for all queries, so that none depends on which others wait.
        direction = torch.randn((samples, codes.shape[1]), generator=generator, dtype=x.dtype)
        radius = (shell + torch.rand((samples, 1), generator=generator, dtype=x.dtype)) * step
        offsets = radius * direction / direction.norm(dim=1, keepdim=True)
        decoded = model.decoder(codes[waiting, None] + offsets)
        everyone = torch.zeros((len(x), samples, x.shape[1]), dtype=x.dtype)
        everyone[waiting] = decoded
        distance = (decoded - x[waiting, None]).norm(dim=2)
        distance[least_output(everyone)[waiting] < margin] = torch.inf
        nearest, which = distance.min(dim=1)
        reached = nearest.isfinite()
        found[waiting[reached]] = decoded[reached, which[reached]]
        waiting = waiting[~reached]
    return found


def linear_least(thetas: Tensor) -> Margins:
    """The least output over linear models, for each query its own: thetas [q, m, d + 1]."""

    def least(points: Tensor) -> Tensor:
        if points.ndim == 2:
            return (torch.einsum("qd,qmd->qm", points, thetas[..., :-1]) + thetas[..., -1]).amin(dim=1)
        return (torch.einsum("qsd,qmd->qsm", points, thetas[..., :-1]) + thetas[..., -1][:, None]).amin(dim=2)

    return least
