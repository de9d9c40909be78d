"""How layers move the two parts of a tensor: rules of contextual decomposition.

W. J. Murdoch, P. Liu, B. Yu, "Beyond Word Importance: Contextual Decomposition to Extract Interactions from LSTMs",
ICLR 2018; of transformers A. Hsu, Y. Cherapanamjeri, A. Odisho, P. Carroll, B. Yu, "Mechanistic Interpretation through
Contextual Decomposition in Transformers", 2024. What comes out of each rule adds up to what the layer makes of the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-8


class Parts(NamedTuple):
    """Relevant and irrelevant part of a tensor, of its shape each."""

    rel: Tensor
    irrel: Tensor


def _share(parts: Parts) -> Tensor:
    return parts.rel.abs() / (parts.rel.abs() + parts.irrel.abs() + TOLERANCE)


def linear(parts: Parts, weight: Tensor, bias: Tensor | None = None) -> Parts:
    """x W' + b of each part, the bias shared by magnitude: weight float[out, in], bias float[out]."""
    moved = Parts(*(part @ weight.T for part in parts))
    if bias is None:
        return moved
    own = bias * _share(moved)
    # The complement, not a second share: the parts add up also where both are zero.
    return Parts(moved.rel + own, moved.irrel + (bias - own))


def layer_norm(parts: Parts, weight: Tensor, bias: Tensor, scale: Tensor) -> Parts:
    """LayerNorm of each part by the standard deviation `scale` of their sum, float[..., 1]."""
    rel, irrel = ((part - part.mean(-1, keepdim=True)) / scale * weight for part in parts)
    own = bias * _share(parts)
    return Parts(rel + own, irrel + (bias - own))


def activate(parts: Parts, function: Callable[[Tensor], Tensor]) -> Parts:
    """An elementwise function: the irrelevant part keeps what it gives alone, the relevant one gets the rest."""
    alone = function(parts.irrel)
    return Parts(function(parts.rel + parts.irrel) - alone, alone)


def attend(value: Parts, pattern: Tensor, relevant_pattern: Tensor | None = None) -> Parts:
    """Values [..., key, head, d] averaged by patterns [..., head, query, key], others in the relevant part if given."""

    def averaged(by: Tensor, part: Tensor) -> Tensor:
        return torch.einsum("...hqk,...khd->...qhd", by, part)

    if relevant_pattern is None:
        return Parts(averaged(pattern, value.rel), averaged(pattern, value.irrel))
    rel = averaged(relevant_pattern, value.rel)
    return Parts(rel, averaged(pattern, value.rel + value.irrel) - rel)


def clean(parts: Parts) -> Parts:
    """Where the parts differ in sign, the larger gets their sum and the other zero."""
    opposed, larger = parts.rel * parts.irrel < 0, parts.rel.abs() >= parts.irrel.abs()
    total, zero = parts.rel + parts.irrel, torch.zeros_like(parts.rel)
    rel = torch.where(opposed, torch.where(larger, total, zero), parts.rel)
    return Parts(rel, torch.where(opposed, torch.where(larger, zero, total), parts.irrel))


def add(first: Parts, second: Parts) -> Parts:
    """The sum of two tensors, part by part."""
    return Parts(first.rel + second.rel, first.irrel + second.irrel)
