"""What EvoPress is compared with: layers ranked one by one, allocated by their errors, or by their outliers.

Men et al., "ShortGPT", 2024 (block influence); Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers",
ICLR 2025 (the window of blocks that turns the residual stream least); Frantar, Alistarh, "SPDY", ICML 2022 (dynamic
programming); Yin et al., "Outlier Weighed Layerwise Sparsity (OWL)", ICML 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from winnow.compress.evopress import Fitness, Space, State
from winnow.errors import InputError
from winnow.models.transformer import Block, Transformer

OUTLIER = 5.0
"""Times the mean of a block's scores from which OWL calls a weight an outlier."""
SPREAD = 0.08
"""Furthest that OWL moves a block's sparsity from the common one."""


def additive_scores(space: Space, fitness: Fitness, sequences: int) -> np.ndarray:
    """Error float64[units] of the model in which one unit alone is at its highest level, on all sequences."""
    states = [_with(space.lowest, unit, space.highest[unit]) for unit in range(len(space.lowest))]
    return np.array([fitness(state, np.arange(sequences)) for state in states])


def _with(state: State, unit: int, level: int) -> State:
    return (*state[:unit], level, *state[unit + 1 :])


def lowest_scores(space: Space, scores: np.ndarray, chosen: Sequence[int]) -> State:
    """The state that has the `chosen[g]` units of the lowest scores of each group at the highest level.

    Of equal scores the later unit is chosen. Raises InputError for a group with fewer units.
    """
    state = list(space.lowest)
    for group, count in zip(space.groups, chosen, strict=True):
        if not 0 <= count <= len(group):
            raise InputError(f"budget: {count} of {len(group)} units cannot be chosen; choose 0 to {len(group)}")
        for unit in sorted(group, key=lambda unit: (scores[unit], -unit))[:count]:
            state[unit] = space.highest[unit]
    return tuple(state)


@torch.no_grad()
def residual_streams(model: Transformer, windows: Tensor) -> list[Tensor]:
    """The residual stream before, between and after all attention and feed-forward layers: float32[n, t, d] each."""
    streams = [model.embedding(windows)]
    for block in model.blocks:
        x = streams[-1]
        assert isinstance(block, Block)
        middle = x + block.attention(block.attention_norm(x))
        streams += [middle, middle + block.mlp(block.mlp_norm(middle))]
    return streams


def block_influence(streams: list[Tensor]) -> np.ndarray:
    """One less the mean cosine between the stream before and after each layer (float64[layers]), as ShortGPT has it.

    Attention layers come first, then feed-forward layers, as in the database of depth.
    """
    turned = [
        1 - float(cosine_similarity(a, b, dim=-1).double().mean()) for a, b in zip(streams, streams[1:], strict=False)
    ]
    return np.array(turned[0::2] + turned[1::2])


def norm_ratios(streams: list[Tensor]) -> np.ndarray:
    """Mean norm of what each layer adds over that of the stream after it, float64[layers], attention layers first."""
    ratios = [
        float(((b - a).norm(dim=-1) / b.norm(dim=-1)).double().mean())
        for a, b in zip(streams, streams[1:], strict=False)
    ]
    return np.array(ratios[0::2] + ratios[1::2])


def window_of_blocks(streams: list[Tensor], count: int) -> State:
    """The run of `count` whole blocks whose ends are most alike by mean cosine, dropped: a state of the depth database.

    Raises InputError for more blocks than there are.
    """
    blocks = len(streams) // 2
    if not 0 <= count <= blocks:
        raise InputError(f"budget: {count} of {blocks} blocks cannot be dropped; drop 0 to {blocks}")
    alike = [
        float(cosine_similarity(streams[2 * at], streams[2 * (at + count)], dim=-1).double().mean())
        for at in range(blocks - count + 1)
    ]
    first = int(np.argmax(alike))
    dropped = tuple(int(first <= block < first + count) for block in range(blocks))
    return dropped + dropped


def dp_allocate(errors: Sequence[dict[int, float]], costs: Sequence[dict[int, int]], budget: int) -> State:
    """The level of each unit that makes the sum of errors least at a total cost of at most the budget, exactly.

    errors, costs: unit -> level -> error, and whole cost of at least 0. Raises InputError where no state costs so
    little.
    """
    unit = int(np.gcd.reduce([cost for levels in costs for cost in levels.values()])) or 1
    capacity = budget // unit
    best = np.zeros(capacity + 1) if capacity >= 0 else np.zeros(0)
    choices = []
    for known, prices in zip(errors, costs, strict=True):
        levels = sorted(known)
        shifted = np.full((len(levels), len(best)), np.inf)
        for row, level in enumerate(levels):
            price = prices[level] // unit
            if price < len(best):
                shifted[row, price:] = best[: len(best) - price] + known[level]
        choices.append((levels, shifted.argmin(0) if len(best) else np.zeros(0, int)))
        best = shifted.min(0)
    if not len(best) or not np.isfinite(best[-1]):
        least = sum(min(prices.values()) for prices in costs)
        raise InputError(f"budget: {budget} is below {least}, the cost of the cheapest levels; raise it")
    state, left = [], capacity
    for (levels, chosen), prices in zip(reversed(choices), reversed(costs), strict=True):
        state.append(levels[chosen[left]])
        left -= prices[state[-1]] // unit
    return tuple(reversed(state))


def owl_sparsities(scores: Sequence[Tensor], sparsity: float) -> np.ndarray:
    """Sparsity float64[blocks] of each block by its share of outliers, mean `sparsity`.

    scores: for each block, |weight| times the norm of its input for all its weights, flat. A block with more scores
    above OUTLIER times its mean keeps more. Raises InputError where a block would keep less than nothing or more than
    all.
    """
    outliers = np.array([float((block > OUTLIER * block.mean()).double().mean()) for block in scores])
    span = outliers.max() - outliers.min()
    moved = (outliers - outliers.min()) / span * 2 * SPREAD if span else np.zeros_like(outliers)
    chosen = sparsity - (moved - moved.mean())
    if chosen.min() < 0 or chosen.max() > 1:
        raise InputError(
            f"sparsity: {sparsity} leaves OWL no room of {SPREAD} on either side; give {SPREAD} to {1 - SPREAD}"
        )
    return np.asarray(chosen)


def owl_scores(weights: Sequence[Tensor], moments: Sequence[Tensor]) -> Tensor:
    """Scores of `owl_sparsities` for the linear layers of a block: |weight| times the root mean square of its input.

    moments: what `second_moment` gives for the inputs of each layer.
    """
    scores = [w.abs() * (moment.diagonal() / 2).sqrt() for w, moment in zip(weights, moments, strict=True)]
    return torch.cat([score.flatten() for score in scores])
