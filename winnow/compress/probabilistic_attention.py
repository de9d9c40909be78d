"""Attention over blocks that take part by chance, the less likely the farther back they lie (PrFlashAttention).

Li, "The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI", 2024, has the
idea; families of chances, the unbiased version, draws of a fixed number and the folded layout are ours. Blocks and the
softmax over them are as in Dao et al., "FlashAttention", NeurIPS 2022; bigbird after Zaheer et al., "Big Bird", NeurIPS
2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.rotary import rotated
from winnow.models.transformer import Attention, Transformer
from winnow.randomness import torch_generator

Family = Literal["harmonic", "geometric", "power", "uniform", "bigbird", "window"]


def probabilities(family: Family, parameter: float, blocks: int) -> np.ndarray:
    """Chance float64[blocks] that a block takes part, by its distance in blocks; 1 at distance 0, never rising.

    harmonic 1 / (1 + c * distance), geometric r^distance, power (1 + distance)^-a, uniform p, bigbird 1 for neighbours
    and p beyond, window 1 below a distance and 0 from there on. Raises InputError for a parameter that gives a chance
    outside [0, 1] or one that rises.
    """
    distance = np.arange(blocks, dtype=float)
    chances = {
        "harmonic": lambda: 1 / (1 + parameter * distance),
        "geometric": lambda: parameter**distance,
        "power": lambda: (1 + distance) ** -parameter,
        "uniform": lambda: np.where(distance == 0, 1.0, parameter),
        "bigbird": lambda: np.where(distance <= 1, 1.0, parameter),
        "window": lambda: (distance < parameter).astype(float),
    }
    if family not in chances:
        raise InputError(f"family: unknown name {family!r}; use one of {', '.join(chances)}")
    found = chances[family]()
    if not (found[0] == 1 and np.isfinite(found).all() and (np.diff(found) <= 0).all() and found[-1] >= 0):
        raise InputError(f"parameter: {parameter} of {family} gives chances that rise or leave 0 to 1; choose another")
    return found


def expected_fraction(chances: np.ndarray, sink: bool = False) -> float:
    """The share of the pairs of a triangle that take part on average; sink: the first block always does."""
    blocks = len(chances)
    places = np.arange(blocks, 0, -1)  # pairs at each distance
    taking_part = float(chances @ places)
    if sink:
        taking_part += float((1 - chances).sum())  # one pair at each distance is with the first block
    return taking_part / (blocks * (blocks + 1) / 2)


def solve_budget(family: Family, blocks: int, fraction: float, sink: bool = False) -> float:
    """The parameter at which a family keeps `fraction` of the blocks on average, within 1e-9.

    Raises InputError for a fraction that the family cannot meet; windows have steps, ask for them by their width.
    """
    ends = {
        "harmonic": (0.0, 1e9),
        "geometric": (0.0, 1.0),
        "power": (0.0, 1e3),
        "uniform": (0.0, 1.0),
        "bigbird": (0.0, 1.0),
    }
    if family not in ends:
        raise InputError(f"family: {family!r} has no budget to solve for; use one of {', '.join(ends)}")

    def excess(parameter: float) -> float:
        return expected_fraction(probabilities(family, parameter, blocks), sink) - fraction

    low, high = ends[family]
    if excess(low) * excess(high) > 0:
        least, most = sorted((excess(low) + fraction, excess(high) + fraction))
        raise InputError(f"fraction: {fraction} is outside {least:.3g} to {most:.3g}, which {family} can keep")
    return float(brentq(excess, low, high, xtol=1e-14, rtol=1e-12))


@dataclass(frozen=True)
class BlockSampler:
    """Draws which blocks of keys each block of queries sees, anew for each round, layer and head."""

    family: Family
    parameter: float
    sink: bool = True
    """The first block always takes part."""
    exactly: int | None = None
    """Draw so many blocks for each row without replacement, weighted by the chances, the row's own among them."""
    seed: int = 0

    def sample(self, blocks: int, step: int = 0, layer: int = 0, head: int = 0) -> Tensor:
        """bool[blocks, blocks], row of queries by column of keys; nothing above the diagonal, all of it on it."""
        generator = torch_generator(self.seed, "blocks", str(step), str(layer), str(head))
        drawn = torch.rand(blocks, blocks, generator=generator, dtype=torch.float64)
        chances = self.chances(blocks)
        if self.exactly is None:
            kept = drawn < chances
        else:
            if self.exactly < 1:
                raise InputError(f"exactly: is {self.exactly}; each row sees its own block, so give at least 1")
            # Gumbel's trick: the largest of log weight + noise are a draw without replacement.
            keys = chances.log() - (-drawn.log()).log()
            keys.fill_diagonal_(torch.inf)
            if self.sink:
                keys[:, 0] = torch.inf
            rank = keys.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            kept = (rank < self.exactly) & (chances > 0)
        kept.fill_diagonal_(True)
        if self.sink:
            kept[:, 0] = True
        return kept.tril()

    def chances(self, blocks: int) -> Tensor:
        """Chance float64[blocks, blocks] of each pair by itself, 0 above the diagonal."""
        by_distance = torch.from_numpy(probabilities(self.family, self.parameter, blocks))
        distance = torch.arange(blocks)[:, None] - torch.arange(blocks)
        chances = torch.where(distance >= 0, by_distance[distance.clamp(min=0)], 0.0)
        if self.sink:
            chances[:, 0] = 1
        return chances


class Folded(NamedTuple):
    """Kept pairs of a triangle in rows of nearly equal length: row r holds those of row r and of row n - 1 - r."""

    rows: Tensor
    """int64[heads, ceil(n / 2), width]: the row of each slot."""
    columns: Tensor
    """int64[heads, ceil(n / 2), width]: its column."""
    used: Tensor
    """bool[heads, ceil(n / 2), width]: whether the slot holds a pair."""


def fold(kept: Tensor) -> Folded:
    """Lay out the kept pairs bool[heads, n, n] of triangles; raises InputError for pairs above the diagonal."""
    heads, blocks, _ = kept.shape
    if kept.triu(1).any():
        raise InputError("kept: has blocks above the diagonal; attention that looks ahead cannot be folded")
    half = -(-blocks // 2)
    upper, lower = kept[:, :half], kept[:, half:].flip(1)
    if blocks % 2:  # the middle row stands alone
        lower = torch.cat([lower, torch.zeros_like(upper[:, -1:])], dim=1)
    both = torch.cat([upper, lower], dim=2)  # a slot for each column of both rows
    width = int(both.sum(2).max())
    order = both.to(torch.uint8).argsort(dim=2, descending=True, stable=True)[..., :width]
    first = torch.arange(half)[None, :, None]
    rows = torch.where(order < blocks, first, blocks - 1 - first)
    return Folded(rows, order % blocks, both.gather(2, order))


def folded_attention(
    query: Tensor, key: Tensor, value: Tensor, kept: Tensor, block: int, chances: Tensor | None = None
) -> Tensor:
    """Causal attention float32[n, heads, t, d] over the kept pairs of blocks bool[heads, ceil(t / block), same].

    Work and memory go with the kept pairs, filled up to the longest folded row. chances: of the pairs, [b, b]; with
    them scores are lowered by their logarithm, which makes numerator and denominator of the softmax unbiased (Horvitz,
    Thompson, 1952). Raises InputError for a row that keeps nothing of its own block, or above the diagonal.
    """
    length, size = query.shape[-2:]
    blocks = -(-length // block)
    if kept.shape[-1] != blocks or not kept.diagonal(dim1=1, dim2=2).all():
        raise InputError(f"kept: must be {blocks} by {blocks} with its diagonal; a query without a key has no output")
    layout, heads = fold(kept), torch.arange(len(kept))[:, None, None]
    q, k, v = (_in_blocks(x, block, blocks) for x in (query, key, value))
    scores = q[:, heads, layout.rows] @ k[:, heads, layout.columns].transpose(-1, -2) / size**0.5
    if chances is not None:
        scores = scores - chances[layout.rows, layout.columns].log()[..., None, None].to(scores)
    place = torch.arange(block)
    ahead = (layout.rows == layout.columns)[..., None, None] & (place[:, None] < place)
    scores = scores.masked_fill(ahead | ~layout.used[..., None, None], -torch.inf)
    flat = (heads * blocks + layout.rows).flatten()  # the row of queries that each slot adds to
    slots = scores.flatten(1, 3)
    # The softmax of each row over all its slots, as FlashAttention has it: greatest score, sum, weighted values.
    greatest = _reduced(slots.amax(-1), flat, len(kept) * blocks, "amax")
    weights = (slots - greatest[:, flat, :, None]).exp()
    total = _reduced(weights.sum(-1), flat, len(kept) * blocks, "sum")
    mixed = _reduced(weights @ v[:, heads, layout.columns].flatten(1, 3), flat, len(kept) * blocks, "sum")
    out = mixed / total[..., None]
    return out.unflatten(1, (len(kept), blocks)).flatten(2, 3)[:, :, :length]


def _in_blocks(x: Tensor, block: int, blocks: int) -> Tensor:
    """[n, heads, t, d] -> [n, heads, blocks, block, d], the last block filled up with zeros."""
    filled = nn.functional.pad(x, (0, 0, 0, blocks * block - x.shape[-2]))
    return filled.unflatten(-2, (blocks, block))


def _reduced(x: Tensor, rows: Tensor, count: int, how: str) -> Tensor:
    """[n, slots, ...] -> [n, count, ...]: the largest or the sum of the slots of each row."""
    shape = (x.shape[0], count, *x.shape[2:])
    if how == "sum":
        return torch.zeros(shape, dtype=x.dtype).index_add(1, rows, x)
    places = rows.view(1, -1, *[1] * (x.ndim - 2)).expand(x.shape)
    return torch.full(shape, -torch.inf, dtype=x.dtype).scatter_reduce(1, places, x.detach(), "amax")


class BlockAttention(nn.Module):
    """A transformer's attention over blocks that are drawn anew with every call; `step` counts them.

    Raises InputError for unbiased scores where exactly so many blocks are drawn for each row.
    """

    def __init__(self, attention: Attention, sampler: BlockSampler, block: int, layer: int, unbiased: bool) -> None:
        super().__init__()
        if unbiased and sampler.exactly is not None:
            raise InputError(
                f"exactly: is {sampler.exactly}; how likely a block is then is not known, so scores cannot be unbiased"
            )
        self.attention, self.sampler, self.block, self.layer, self.unbiased = attention, sampler, block, layer, unbiased
        self.step = 0
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.attention
        query, key, value = (
            part(x).unflatten(-1, (inner.heads, -1)).transpose(1, 2) for part in (inner.query, inner.key, inner.value)
        )
        blocks = -(-x.shape[1] // self.block)
        draws = [self.sampler.sample(blocks, self.step, self.layer, head) for head in range(inner.heads)]
        self.kept, self.step = torch.stack(draws), self.step + 1
        chances = self.sampler.chances(blocks) if self.unbiased else None
        mixed = folded_attention(rotated(query), rotated(key), value, self.kept, self.block, chances)
        return inner.output(mixed.transpose(1, 2).flatten(-2))


def with_block_attention(model: Transformer, sampler: BlockSampler, block: int, unbiased: bool = False) -> Transformer:
    """Put drawn blocks in the place of a transformer's attention, in place; returns the model."""
    for layer, module in enumerate(model.blocks):
        module.attention = BlockAttention(module.attention, sampler, block, layer, unbiased)  # type: ignore[arg-type]
    return model
