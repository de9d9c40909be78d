"""BEE: path integrals at a layer from random baselines, whose distribution a bandit learns for a metric.

Barkan, Elisha, Weill and Koenigstein, "BEE: Metric-Adapted Explanations via Baseline Exploration-Exploitation", AAAI
2025. Thompson sampling with a Laplace posterior: Chapelle and Li, "An Empirical Evaluation of Thompson Sampling",
NeurIPS 2011. Baselines from training images: Erion et al., "Improving Performance of Deep Learning Models with
Axiomatic Attribution Priors and Expected Gradients", Nature Machine Intelligence, 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.attribution.gradients import path_integral, upsampled
from winnow.attribution.saliency_metrics import Metric, blurred
from winnow.errors import InputError
from winnow.evaluate.thompson import Policy
from winnow.models.hooks import rest_of
from winnow.models.modes import evaluating
from winnow.randomness import torch_generator

FAMILIES = ("normal", "uniform", "blur", "constant", "train")
STEP, BETAS = 500, (1e-4, 0.02)  # of forward diffusion: the authors' step and schedule
WIDTHS = (3, 50)  # of blurs, in positions of the map


def kept_signal() -> float:
    """Product of 1 - beta over the steps of forward diffusion (abar)."""
    return float(np.prod(1 - np.linspace(*BETAS, STEP + 1)[1:]))


def baseline(family: str, activation: Tensor, generator: torch.Generator, pool: Tensor | None = None) -> Tensor:
    """A random baseline for each activation [n, c, h, w], of its shape.

    normal, uniform: the activation after forward diffusion with such noise, sqrt(abar) a + (1 - abar) e; blur: under a
    Gaussian blur of a random width; constant: one value for each channel, between its least and its largest; train: the
    activation of a random one of `pool` [m, c, h, w]. Raises InputError for another family, an activation without
    height and width, or an empty pool where one is needed.
    """
    if activation.ndim != 4:
        raise InputError(
            f"an activation of shape {tuple(activation.shape)} has no height and width; name a layer of maps"
        )
    n, channels = activation.shape[:2]
    if family in ("normal", "uniform"):
        draw = torch.randn if family == "normal" else torch.rand
        kept = kept_signal()
        return kept**0.5 * activation + (1 - kept) * draw(activation.shape, generator=generator)
    if family == "blur":
        return blurred(activation, torch.randint(WIDTHS[0], WIDTHS[1] + 1, (n,), generator=generator).float())
    if family == "constant":
        low, high = activation.amin((2, 3), keepdim=True), activation.amax((2, 3), keepdim=True)
        return (low + (high - low) * torch.rand(n, channels, 1, 1, generator=generator)).expand(activation.shape)
    if family == "train":
        if pool is None or not len(pool):
            raise InputError("the family train has no pool of training activations; give some")
        return pool[torch.randint(len(pool), (n,), generator=generator)]
    raise InputError(f"baseline family {family!r} is unknown; use one of {', '.join(FAMILIES)}")


@dataclass(frozen=True)
class Explained:
    """A model, a layer of maps and some images, ready for many path integrals."""

    model: nn.Module
    x: Tensor
    target: Tensor
    activation: Tensor
    rest: Callable[[Tensor], Tensor]
    pool: Tensor | None = None

    @classmethod
    def at(cls, model: nn.Module, layer: str, x: Tensor, target: Tensor, pool: Tensor | None = None) -> Explained:
        """Images x and the classes to explain, at a layer; pool: training images, for baselines of that family."""
        with evaluating(model):
            activation, rest = rest_of(model, x, layer)
            found = None if pool is None else rest_of(model, pool, layer)[0]
        if activation.ndim != 4:
            raise InputError(f"layer {layer!r} puts out no maps; name a layer with height and width")
        return cls(model, x, target, activation, rest, found)

    def rows(self, index: Tensor) -> Explained:
        """The same for some of the images."""
        x, target, activation = self.x[index], self.target[index], self.activation[index]
        return Explained(self.model, x, target, activation, self.rest, self.pool)

    def maps(self, baselines: Tensor, steps: int = 10, rectified: bool = False) -> Tensor:
        """Path integrals from baselines, summed over channels, at the images' size: float[n, H, W] in [0, 1].

        rectified: only what speaks for the class, channel by channel.
        """
        with evaluating(self.model):
            found = path_integral(self.rest, self.activation, self.target, baselines, steps)
        found = found.relu() if rectified else found
        return upsampled(found.sum(dim=1), *self.x.shape[2:])

    def draw(self, arms: np.ndarray, generator: torch.Generator, steps: int = 10) -> Tensor:
        """A map of every image from a baseline of its arm, a number of FAMILIES: float[n, H, W]."""
        baselines = torch.empty_like(self.activation)
        for arm in np.unique(arms):
            rows = torch.from_numpy(np.flatnonzero(arms == arm))
            baselines[rows] = baseline(FAMILIES[arm], self.activation[rows], generator, self.pool)
        return self.maps(baselines, steps)


class Draws(NamedTuple):
    """What some draws of baselines gave."""

    maps: Tensor
    """float[n, H, W]: the best map of each image for the metric, or the mean of all."""
    scores: np.ndarray
    """float64[n, draws] of every draw, NaN where not defined"""
    arms: np.ndarray
    """int64[n, draws]"""


def explain(
    policy: Policy,
    explained: Explained,
    features: np.ndarray,
    metric: Metric,
    draws: int,
    *,
    seed: int,
    fill: Tensor | float = 0.0,
    steps: int = 10,
    update: bool = True,
    select: str = "best",
) -> Draws:
    """Draw baselines for every image as the policy says, and keep the map that the metric likes best.

    A round draws one baseline for each image; the policy learns between rounds, where update is on. features:
    float[n, d] of the images. select: best, or mean for the mean of the maps.
    """
    if draws < 1 or select not in ("best", "mean"):
        raise InputError(f"draws is {draws} and select {select!r}; draw at least once, and use best or mean")
    generator = torch_generator(seed, "baselines")
    best, kept = np.full(len(features), -np.inf), torch.zeros(len(features), *explained.x.shape[2:])
    scores, arms = [], []
    for _ in range(draws):
        chosen = policy.choose(features)
        maps = explained.draw(chosen, generator, steps)
        score = metric(explained.model, explained.x, explained.target, maps, fill=fill).numpy()
        if update:
            policy.update(features, chosen, score)
        value = score if metric.higher_is_better else -score
        better = torch.from_numpy(np.where(np.isnan(value), -np.inf, value) > best)
        if select == "mean":
            kept += maps / draws
        else:
            kept[better] = maps[better]
        best = np.fmax(best, value)
        scores.append(score)
        arms.append(chosen)
    return Draws(kept, np.stack(scores, axis=1), np.stack(arms, axis=1))


def pretrain(
    policy: Policy,
    explained: Explained,
    features: np.ndarray,
    metric: Metric,
    *,
    seed: int,
    fill: Tensor | float = 0.0,
    steps: int = 10,
    batch: int = 20,
) -> np.ndarray:
    """One draw for each training image, batch by batch in the order given; returns the arms drawn, int64[n]."""
    arms = []
    for number, rows in enumerate(torch.arange(len(features)).split(batch)):
        of = features[rows.numpy()]
        found = explain(policy, explained.rows(rows), of, metric, 1, seed=seed + 7919 * number, fill=fill, steps=steps)
        arms.append(found.arms[:, 0])
    return np.concatenate(arms)


def best_of(scores: np.ndarray, draws: int, higher_is_better: bool) -> np.ndarray:
    """The best of the first draws of every image: float64[n], NaN where none is defined."""
    first = scores[:, :draws]
    best = np.where(np.isnan(first), -np.inf if higher_is_better else np.inf, first)
    best = best.max(axis=1) if higher_is_better else best.min(axis=1)
    return np.where(np.isfinite(best), best, np.nan)
