"""The cross-entropy method: a law of settings that is drawn from, and refitted to the best of what was drawn.

Rubinstein, Kroese, "The Cross-Entropy Method", 2004; de Boer, Kroese, Mannor, Rubinstein, "A Tutorial on the
Cross-Entropy Method", Annals of Operations Research, 2005. Settings are independent of one another: a truncated normal
for each number (of its logarithm, if asked), shares for each choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import truncnorm

from winnow.errors import InputError
from winnow.randomness import numpy_generator


@dataclass(frozen=True)
class Continuous:
    """A number between two bounds; log: its logarithm is what is drawn."""

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            wanted = "0 < low < high" if self.log else "low < high"
            raise InputError(f"{self.name}: goes from {self.low} to {self.high}; give {wanted}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Of what is drawn."""
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    name: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise InputError(f"{self.name}: has the values {list(self.values)}; give some, each once")


Space = Sequence[Continuous | Choice]
Point = dict[str, Any]


class CrossEntropy:
    """Asks for `n` points a round and is told their scores; higher is better, NaN is worst of all.

    rho: share of a round that is its elite. alpha: weight of the elite's law against the law before; deviations take
    alpha - alpha * (1 - 1 / round)^decay, so that they shrink more slowly. floor: least share of a choice; narrowest:
    least deviation, as a share of a number's range. The first law is centred, with a deviation of half the range and
    equal shares. Raises InputError for an elite of fewer than two, whose deviation is undefined.
    """

    def __init__(
        self,
        space: Space,
        n: int = 12,
        rho: float = 0.25,
        alpha: float = 0.7,
        decay: float = 7.0,
        floor: float = 0.02,
        narrowest: float = 0.005,
        seed: int = 0,
    ) -> None:
        self.elite = math.ceil(rho * n)
        if self.elite < 2 or rho > 1:
            raise InputError(f"rho: {rho} of {n} makes an elite of {self.elite}; give a share that makes 2 to {n}")
        if len({each.name for each in space}) < len(space):
            raise InputError("space: a name stands twice; name each setting once")
        self.space, self.n, self.alpha, self.decay = list(space), n, alpha, decay
        self.floor, self.narrowest = floor, narrowest
        self.generator = numpy_generator(seed, "cross-entropy method")
        self.round = 0
        self.thresholds: list[float] = []
        self.means = {each.name: sum(each.bounds) / 2 for each in space if isinstance(each, Continuous)}
        self.deviations = {e.name: (e.bounds[1] - e.bounds[0]) / 2 for e in space if isinstance(e, Continuous)}
        self.shares = {e.name: np.full(len(e.values), 1 / len(e.values)) for e in space if isinstance(e, Choice)}
        self.told: list[tuple[float, Point]] = []
        self._asked: list[Point] = []

    def ask(self) -> list[Point]:
        """The points of the next round."""
        columns = [self._drawn(each) for each in self.space]
        self._asked = [
            {each.name: column[i] for each, column in zip(self.space, columns, strict=True)} for i in range(self.n)
        ]
        return [dict(point) for point in self._asked]

    def _drawn(self, each: Continuous | Choice) -> list[Any]:
        if isinstance(each, Choice):
            picked = self.generator.choice(len(each.values), self.n, p=self.shares[each.name])
            return [each.values[index] for index in picked]
        mean, deviation, (low, high) = self.means[each.name], self.deviations[each.name], each.bounds
        a, b = (low - mean) / deviation, (high - mean) / deviation
        values = truncnorm.rvs(a, b, mean, deviation, size=self.n, random_state=self.generator)
        return [float(np.clip(math.exp(v) if each.log else v, each.low, each.high)) for v in values]

    def tell(self, scores: Sequence[float]) -> list[bool]:
        """Refit the law to the elite of the points asked for last; returns which of them are elite.

        Of equal scores the earlier is elite. Raises InputError for another number of scores.
        """
        if len(scores) != len(self._asked) or not self._asked:
            raise InputError(f"scores: are {len(scores)} for {len(self._asked)} points that were asked for")
        worth = [-math.inf if math.isnan(score) else score for score in scores]
        order = sorted(range(len(worth)), key=lambda i: -worth[i])[: self.elite]
        self.round += 1
        self.thresholds.append(worth[order[-1]])
        self.told += [(worth[i], point) for i, point in enumerate(self._asked)]
        elite = [self._asked[i] for i in order if worth[i] > -math.inf]
        for each in self.space:
            if elite:
                self._refit(each, [point[each.name] for point in elite])
        self._asked = []
        return [i in order for i in range(len(worth))]

    def _refit(self, each: Continuous | Choice, values: list[Any]) -> None:
        name, alpha = each.name, self.alpha
        if isinstance(each, Choice):
            found = np.array([values.count(value) for value in each.values]) / len(values)
            mixed = np.maximum(alpha * found + (1 - alpha) * self.shares[name], self.floor)
            self.shares[name] = mixed / mixed.sum()
            return
        drawn, (low, high) = np.log(values) if each.log else np.array(values), each.bounds
        slower = alpha - alpha * (1 - 1 / self.round) ** self.decay
        self.means[name] = float(alpha * drawn.mean() + (1 - alpha) * self.means[name])
        deviation = slower * drawn.std() + (1 - slower) * self.deviations[name]
        self.deviations[name] = float(max(deviation, self.narrowest * (high - low)))

    def distribution(self) -> dict[str, dict[str, Any]]:
        """The law: name -> mean and deviation of what is drawn, or the share of each value."""
        numbers = {name: {"mean": mean, "deviation": self.deviations[name]} for name, mean in self.means.items()}
        choices = {
            e.name: dict(zip(e.values, self.shares[e.name].tolist(), strict=True))
            for e in self.space
            if isinstance(e, Choice)
        }
        return {each.name: (numbers | choices)[each.name] for each in self.space}

    def mode(self) -> Point:
        """The likeliest point of the law; of equal shares the value named first."""
        point: Point = {}
        for each in self.space:
            if isinstance(each, Choice):
                point[each.name] = each.values[int(self.shares[each.name].argmax())]
            else:
                mean = math.exp(self.means[each.name]) if each.log else self.means[each.name]
                point[each.name] = float(np.clip(mean, each.low, each.high))
        return point

    def best(self) -> tuple[Point, float]:
        """The best point so far and its score, of equal ones the earliest; raises InputError before the first round."""
        if not self.told:
            raise InputError("best: no round was told yet; ask and tell first")
        score, point = max(self.told, key=lambda pair: pair[0])
        return dict(point), score

    def done(self, patience: int = 3) -> bool:
        """Whether the threshold stayed for so many rounds, or every deviation is at its floor."""
        last = self.thresholds[-patience - 1 :]
        still = len(last) > patience and len(set(last)) == 1
        numbers = [each for each in self.space if isinstance(each, Continuous)]
        ranges = {each.name: each.bounds[1] - each.bounds[0] for each in numbers}
        narrow = all(self.deviations[name] <= self.narrowest * wide * (1 + 1e-9) for name, wide in ranges.items())
        return still or (bool(numbers) and narrow)
