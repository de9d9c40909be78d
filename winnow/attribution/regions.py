"""How much of a saliency map lies inside a region that is known to matter.

Energy inside a region: Wang et al., "Score-CAM", CVPR workshops 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from winnow.attribution.saliency_metrics import pixel_ranks
from winnow.errors import InputError


def energy_share(maps: Tensor, inside: Tensor) -> Tensor:
    """Share of a map's energy, the sum of its squares, that lies inside a region: float64[n].

    maps: float[n, h, w]; inside: bool of the same shape. A map of zeros counts as an even one.
    """
    energy = _same_shape(maps, inside).double().square()
    within, total = (energy * inside).flatten(1).sum(1), energy.flatten(1).sum(1)
    even = inside.flatten(1).double().mean(1)
    return torch.where(total > 0, within / torch.where(total > 0, total, 1), even)


def top_share(maps: Tensor, inside: Tensor, top: float = 0.05, seed: int = 0) -> Tensor:
    """Share of the largest magnitudes, a fraction `top` of all pixels, that lie inside a region: float64[n]."""
    if not 0 < top <= 1:
        raise InputError(f"top is {top}; it must be above 0 and at most 1")
    ranks = pixel_ranks(_same_shape(maps, inside).abs(), seed).flatten(1)
    chosen = ranks < max(1, round(top * ranks.shape[1]))
    return (chosen & inside.flatten(1)).sum(1) / chosen.sum(1).double()


def _same_shape(maps: Tensor, inside: Tensor) -> Tensor:
    if maps.shape != inside.shape:
        raise InputError(f"maps are {tuple(maps.shape)} and the regions {tuple(inside.shape)}; give both one shape")
    return maps
