"""A bandit that learns for an image which arm will score well: contextual Thompson sampling with a Laplace posterior.

O. Chapelle, L. Li, "An Empirical Evaluation of Thompson Sampling", NeurIPS 2011; the reward by ranks is that of Barkan,
Elisha, Weill and Koenigstein, "BEE: Metric-Adapted Explanations via Baseline Exploration-Exploitation", AAAI 2025.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from winnow.randomness import numpy_generator

CONTEXT = 100  # dimensions of the context


class Policy(Protocol):
    """What chooses the family of the next baseline, and may learn from the reward."""

    def choose(self, features: np.ndarray) -> np.ndarray: ...

    def update(self, features: np.ndarray, arms: np.ndarray, scores: np.ndarray) -> None: ...


@dataclass
class Mixture:
    """Families drawn with fixed shares, whatever the image; learns nothing."""

    shares: np.ndarray
    seed: int

    def __post_init__(self) -> None:
        self._generator = numpy_generator(self.seed, "mixture")

    def choose(self, features: np.ndarray) -> np.ndarray:
        return self._generator.choice(len(self.shares), size=len(features), p=self.shares)

    def update(self, features: np.ndarray, arms: np.ndarray, scores: np.ndarray) -> None:
        """Nothing."""


def laplace(mean: np.ndarray, precision: np.ndarray, phi: np.ndarray, reward: float) -> tuple[np.ndarray, np.ndarray]:
    """The posterior of logistic weights after one observation: its mode and its diagonal precision, float64[d] each.

    The mode of exp(-.5 sum q (w - u)^2) / (1 + exp(-r w.phi)) lies on the line u + c phi / q, as only w.phi is seen, so
    one number c is sought: c = r sigmoid(-r (u.phi + c s)) with s = sum phi^2 / q.
    """
    spread, start = float((phi**2 / precision).sum()), float(mean @ phi)
    low, high = sorted((0.0, float(reward)))
    for _ in range(60):  # bisection: the difference of the two sides rises with c
        c = (low + high) / 2
        above = c - reward / (1 + np.exp(reward * (start + c * spread))) > 0
        low, high = (low, c) if above else (c, high)
    mode = mean + c * phi / precision
    p = 1 / (1 + np.exp(-float(mode @ phi)))
    return mode, precision + phi**2 * p * (1 - p)


@dataclass
class Thompson:
    """Contextual Thompson sampling over arms, with the rank of a score among those seen as the chance of a reward.

    features: dimensions of what is known of an image. The context is a linear head on them and on a constant, of
    `dimensions`, trained with the weights of the arms. The posterior's precision is diagonal, as the authors have it:
    the more dimensions, the more of the uncertainty it leaves in place. warmup: scores that are only remembered, as a
    rank among few says little.
    """

    arms: int
    features: int
    higher_is_better: bool
    seed: int
    prior: float = 1.0
    dimensions: int = CONTEXT
    head_rate: float = 0.01
    warmup: int = 20
    name: str = ""
    """Bandits of one seed and different names draw apart."""
    skipped: int = 0
    """Scores that were not defined, which teach nothing."""
    seen: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generator = numpy_generator(self.seed, "thompson", self.name)
        bound = (self.features + 1) ** -0.5  # torch's for a new linear layer
        self.head = self._generator.uniform(-bound, bound, (self.dimensions, self.features + 1))
        self.mean = np.zeros((self.arms, self.dimensions))
        self.precision = np.full((self.arms, self.dimensions), float(self.prior))

    def context(self, features: np.ndarray) -> np.ndarray:
        """phi of images: float64[n, dimensions]."""
        return self._with_constant(features) @ self.head.T

    @staticmethod
    def _with_constant(features: np.ndarray) -> np.ndarray:
        return np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(float)

    def choose(self, features: np.ndarray) -> np.ndarray:
        """The arm with the largest w.phi for weights drawn from the posterior, one draw an image: int64[n]."""
        noise = self._generator.standard_normal((len(features), self.arms, self.dimensions))
        weights = self.mean + noise / np.sqrt(self.precision)  # a precision q is a deviation of q ** -.5
        return np.einsum("nad,nd->na", weights, self.context(features)).argmax(axis=1)

    def update(self, features: np.ndarray, arms: np.ndarray, scores: np.ndarray) -> None:
        """Learn from the scores float[n] of the chosen arms int[n]; one that is NaN is skipped and counted."""
        extended = self._with_constant(features)
        for known, arm, score in zip(extended, arms, scores, strict=True):
            if not np.isfinite(score):
                self.skipped += 1
                continue
            self.seen.append(float(score))
            if len(self.seen) > self.warmup:
                self.learn(known, int(arm), self._reward(float(score)))

    def _reward(self, score: float) -> float:
        """1 or -1, by chance: the share of the scores seen that this one beats, ties counted half."""
        seen = np.array(self.seen)
        share = float((seen < score).mean() + 0.5 * (seen == score).mean())
        share = share if self.higher_is_better else 1 - share
        return 1.0 if self._generator.random() < share else -1.0

    def learn(self, known: np.ndarray, arm: int, reward: float) -> None:
        """One observation of an arm at float[features + 1]: the posterior of its weights, and a step of the head."""
        phi = self.head @ known
        self.mean[arm], self.precision[arm] = laplace(self.mean[arm], self.precision[arm], phi, reward)
        slope = -reward / (1 + np.exp(reward * float(self.mean[arm] @ phi)))
        self.head -= self.head_rate * slope * np.outer(self.mean[arm], known)

    def state_dict(self) -> dict[str, np.ndarray]:
        """What was learnt: head, mean and precision of the arms, scores seen."""
        return {
            "head": self.head,
            "mean": self.mean,
            "precision": self.precision,
            "seen": np.array(self.seen),
        }
