"""Coalitions of features by which Shapley values are found: all of the sizes that matter most, and random ones.

S. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017, with the paired sampling
of Covert and Lee, "Improving KernelSHAP", AISTATS 2021.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError


def shapley_kernel(sizes: Tensor, features: int) -> Tensor:
    """(d - 1) / (C(d, m) m (d - m)) for subsets of m features; infinite for none and for all (Lundberg and Lee)."""
    subsets = torch.tensor([comb(features, m) for m in range(features + 1)], dtype=torch.float64)[sizes.long()]
    return (features - 1) / (subsets * sizes * (features - sizes))


def coalitions(features: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Masks float64[m, d], weights float64[m], draws int64[m]: weighted sums are those of Shapley's kernel.

    Sizes are taken from the outside in, each with its complement: all subsets of a size where the budget pays for
    them in proportion to the kernel, and of the other sizes random ones, drawn *by* the kernel and therefore of equal
    weight, each with its complement. draws numbers those pairs and is -1 for what is not random, which is everything
    with samples >= 2^d - 2.
    """
    if features < 2:
        raise InputError(f"features: there is {features}; Shapley values need 2 at least to share something out")
    pairs = range(1, features // 2 + 1)
    # Kernel mass of the sizes s and d - s together.
    mass = {s: (features - 1) / (s * (features - s)) * (1 if 2 * s == features else 2) for s in pairs}
    whole = sum(mass.values())
    masks: list[Tensor] = []
    weights: list[Tensor] = []
    draws: list[Tensor] = []
    left = samples
    for s in pairs:
        number = comb(features, s) * (1 if 2 * s == features else 2)
        if left * mass[s] / sum(mass.values()) < number - 1e-9:
            break
        subsets = _subsets(features, s)
        both = subsets if 2 * s == features else torch.cat([subsets, 1 - subsets])
        masks.append(both)
        weights.append(torch.full((len(both),), mass.pop(s) / whole / len(both), dtype=torch.float64))
        draws.append(torch.full((len(both),), -1))
        left -= number
    if mass:
        drawn = _paired_subsets(features, mass, max(1, left // 2), generator)
        masks.append(drawn)
        weights.append(torch.full((len(drawn),), sum(mass.values()) / whole / len(drawn), dtype=torch.float64))
        draws.append(torch.arange(len(drawn)) % (len(drawn) // 2))
    return torch.cat(masks), torch.cat(weights), torch.cat(draws)


def _subsets(features: int, size: int) -> Tensor:
    members = np.array(list(combinations(range(features), size)))
    masks = torch.zeros(len(members), features, dtype=torch.float64)
    return masks.scatter_(1, torch.from_numpy(members), 1.0)


def _paired_subsets(features: int, mass: dict[int, float], pairs: int, generator: torch.Generator) -> Tensor:
    sizes = torch.tensor(list(mass))
    drawn = torch.multinomial(torch.tensor(list(mass.values())), pairs, replacement=True, generator=generator)
    ranks = torch.rand(pairs, features, generator=generator, dtype=torch.float64).argsort(dim=1).argsort(dim=1)
    masks = (ranks < sizes[drawn][:, None]).double()
    return torch.cat([masks, 1 - masks])
