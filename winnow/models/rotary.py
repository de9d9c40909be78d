"""Rotary positions, from the first on or at any offset, for attention that goes on from a cache.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", Neurocomputing, 2024.
"""

from __future__ import annotations

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
    half = x.shape[-1] // 2
    positions = torch.arange(x.shape[-2]) if positions is None else positions
    rates = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions.to(torch.float64)[..., None] * rates
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    if interleaved:
        first, second = x[..., ::2], x[..., 1::2]
        turned = torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
        return turned.flatten(-2)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
