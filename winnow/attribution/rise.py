"""RISE: what an output keeps, on average, when random coarse masks leave a pixel visible.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from winnow.attribution.perturbation import Function, evaluate, random_masks, show
from winnow.errors import InputError
from winnow.randomness import torch_generator


def coarse_masks(count: int, height: int, width: int, *, cells: int = 7, share: float = 0.5, seed: int = 0) -> Tensor:
    """float64[count, height, width] between 0 and 1, each pixel `share` in expectation.

    Coarse masks of zeros and ones, one more cell than `cells` along each side, are enlarged bilinearly and cut at a
    random shift below the side of a cell, so that borders of cells lie anywhere. Raises InputError for more cells than
    pixels and a share that hides all or nothing.
    """
    if not 1 <= cells <= min(height, width) or not 0 < share < 1 or count < 1:
        raise InputError(
            f"masks {count}, cells {cells}, share {share:g}, image {height} x {width}: need a mask, a share between 0 "
            "and 1, and cells up to the side of the image"
        )
    generator = torch_generator(seed, "coarse masks")
    coarse = random_masks((count, 1, cells + 1, cells + 1), generator, share)
    side = [-(-size // cells) for size in (height, width)]
    size = ((cells + 1) * side[0], (cells + 1) * side[1])
    large = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[:, 0]
    top, left = (torch.randint(step, (count, 1), generator=generator) for step in side)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    return large[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def rise(
    f: Function, x: Tensor, masks: Tensor, share: float, *, baseline: Tensor | float = 0.0, target: Tensor | None = None
) -> Tensor:
    """sum_i f(x under m_i) m_i / (share * count): float64[n, h, w].

    f: float[rows, c, h, w] -> outputs, in the paper probabilities. x: [n, c, h, w]. masks: float64[count, h, w], the
    same for every image. share: their mean. target: int64[n].
    """
    pixels = torch.arange(masks[0].numel()).view(masks.shape[1:]).expand(x.shape[1:])
    flat = masks.flatten(1)
    values = evaluate(f, x, flat[None], lambda rows, z: show(rows, z, baseline, pixels), target)
    return (values @ flat / (share * len(masks))).view(len(x), *masks.shape[1:])
