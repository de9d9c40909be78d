"""Two ways in which sparse autoencoders part with what a person would call a feature, on data made for it.

Occlusion: of two attributes in one vector the larger gets the features. Over-splitting: one binary attribute is spread
over ever more features as the dictionary grows. Makelov, Lange and Nanda, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import SaeConfig, fit_many
from winnow.evaluate.supervised_dictionaries import interpret
from winnow.randomness import torch_generator

SPECIFIC = 0.9
"""Share of a feature's rows that are of one class, from which on it is specific to it."""
RARE = 0.001
"""Share of the rows below which a feature says nothing."""


def nearest_in_l0(rows: Tensor, config: SaeConfig, penalties: Sequence[float], active: float) -> Dictionary:
    """The dictionary of rows float32[n, d] whose mean number of active features comes nearest to `active`.

    Of a penalised architecture one is fitted for each penalty; others have the number in their settings.
    """
    fitted = fit_many(rows, penalised(config, penalties))
    return closest_in_l0([dictionary for dictionary, _ in fitted], rows, active)


def penalised(config: SaeConfig, penalties: Sequence[float]) -> list[SaeConfig]:
    """The configuration with each of the penalties, where its architecture has one."""
    return [replace(config, l1=p) for p in penalties] if config.architecture in ("relu_l1", "gated") else [config]


def closest_in_l0(fitted: Sequence[Dictionary], rows: Tensor, active: float) -> Dictionary:
    """Of several dictionaries of rows float32[n, d] the one with a mean number of active features nearest `active`."""
    return min(fitted, key=lambda dictionary: abs(float((dictionary.dense(rows) > 0).sum(1).double().mean()) - active))


def occlusion(
    ratio: float, config: SaeConfig, penalties: Sequence[float], *, seed: int, values: int = 40, d: int = 48,
    rows: int = 8192,
) -> dict[str, float]:  # fmt: skip
    """Mean best F1 over the values of a larger attribute and of one `ratio` times as long: larger, smaller, l0.

    Every vector is the sum of one unit direction of each attribute, drawn apart; features are judged on new vectors.
    """
    generator = torch_generator(seed, "occlusion")
    directions = torch.nn.functional.normalize(torch.randn(2, values, d, generator=generator), dim=2)
    drawn = torch.randint(0, values, (2, 2 * rows), generator=generator)
    x = directions[0][drawn[0]] + ratio * directions[1][drawn[1]]
    dictionary = nearest_in_l0(x[:rows], config, penalties, 2.0)
    active = dictionary.dense(x[rows:]) > 0
    best = [float(interpret(active, part[rows:], values).f1.max(0).values.mean()) for part in drawn]
    return {"larger": best[0], "smaller": best[1], "l0": float(active.sum(1).double().mean())}


def splitting(
    config: SaeConfig, penalties: Sequence[float], *, seed: int, d: int = 16, noise: float = 0.3, rows: int = 8192
) -> dict[str, float]:
    """How a binary attribute is spread: specific (features that fire for one class alone), best (largest F1 of one).

    Every vector is a direction or its opposite, of length 1, and normal noise of `noise` in each dimension.
    """
    generator = torch_generator(seed, "splitting")
    direction = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
    label = torch.randint(0, 2, (2 * rows,), generator=generator)
    x = (2 * label[:, None] - 1) * direction + noise * torch.randn(2 * rows, d, generator=generator)
    dictionary = nearest_in_l0(x[:rows], config, penalties, 2.0)
    active = dictionary.dense(x[rows:]) > 0
    fires = active.double().mean(0)
    share = (active.double().T @ label[rows:].double()) / active.double().sum(0).clamp(min=1)
    specific = (fires >= RARE) & (torch.maximum(share, 1 - share) >= SPECIFIC)
    best = float(interpret(active, label[rows:], 2, union=1).f1.max())
    return {"specific": float(specific.sum()), "best": best}


def toys(settings: Any, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of both toys: system, then ratio or width, then metric."""
    common = {"steps": settings.steps, "batch": settings.batch_size, "seed": seed}
    penalties = settings.penalties
    occluded = {
        f"r{ratio:g}": occlusion(ratio, SaeConfig("relu_l1", m=settings.width, **common), penalties, seed=seed)
        for ratio in settings.ratios
    }
    split = {
        f"m{width}": splitting(SaeConfig("relu_l1", m=width, **common), penalties, seed=seed)
        for width in settings.widths
    }
    rank = {
        "occlusion": _rank(settings.ratios, [row["smaller"] for row in occluded.values()]),
        "splitting": _rank(settings.widths, [row["specific"] for row in split.values()]),
        "blunting": -_rank(settings.widths, [row["best"] for row in split.values()]),
    }
    ranks = {name: {"rank_correlation": value} for name, value in rank.items()}
    return {"toy_occlusion": occluded, "toy_splitting": split, "toys": ranks}


def _rank(levels: Sequence[float], values: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where the values do not vary."""
    return float(spearmanr(levels, values).statistic) if len(set(values)) > 1 else 0.0
