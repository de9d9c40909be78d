"""Rotary positions, from the first on or at any offset, for attention that goes on from a cache.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", Neurocomputing, 2024.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from winnow.errors import InputError

ROTARY_BASE = 10_000.0


def rotated(x: Tensor, positions: Tensor | None = None, base: float = ROTARY_BASE, interleaved: bool = False) -> Tensor:
    """Rotate queries or keys float[..., t, d] at positions int64[t] or [..., t]: pair i by position * base^(-2i/d).

    Without positions they are 0 to t - 1.
    A pair is (i, i + d / 2), as the models here have it, or, interleaved, (2i, 2i + 1), as in the paper; weights
    trained with one layout need it ever after. Raises InputError for an odd d.
    """
    if x.shape[-1] % 2:
        raise InputError(f"rotary positions: a head has {x.shape[-1]} dimensions; give an even number")
    size = x.shape[-1]
    if positions is None and x.ndim == 4 and not interleaved:
        return turned(x, _from_the_first(x.shape[-2], x.shape[-3], size, base, x.dtype))
    cosine, sine = turns(torch.arange(x.shape[-2]) if positions is None else positions, size, base, x.dtype)
    if not interleaved:
        return turned(x, (cosine, sine))
    first, second, cosine, sine = x[..., ::2], x[..., 1::2], cosine[..., size // 2 :], sine[..., size // 2 :]
    return torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=-1).flatten(-2)


Turns = tuple[Tensor, Tensor]


def turns(positions: Tensor, size: int, base: float = ROTARY_BASE, dtype: torch.dtype = torch.float32) -> Turns:
    """Cosines and sines [..., size] of positions int64[...] for `turned`, the sines of the first half with a minus."""
    half = size // 2
    rates = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions.to(torch.float64)[..., None] * rates
    cosine, sine = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat([cosine, cosine], -1), torch.cat([-sine, sine], -1)


def turned(x: Tensor, by: Turns) -> Tensor:
    """Queries or keys float[..., t, d] rotated by turns that broadcast to them; `rotated` by what may serve again."""
    half, (cosine, sine) = x.shape[-1] // 2, by
    # Heads lie side by side in what a linear layer gives; kept so, each product is one run through memory.
    other = x.transpose(-3, -2).roll(half, -1).transpose(-3, -2) if x.ndim > 2 else x.roll(half, -1)
    return other.mul_(sine).add_(x * cosine)


@lru_cache(maxsize=32)
def _from_the_first(length: int, heads: int, size: int, base: float, dtype: torch.dtype) -> Turns:
    """The turns of positions 0 to length - 1 for each head, [heads, t, d], those of a token side by side in memory."""
    cosine, sine = (
        turn[:, None].repeat(1, heads, 1).transpose(0, 1) for turn in turns(torch.arange(length), size, base, dtype)
    )
    return cosine, sine
