"""A mark in a corner that tells the class: whether explanations show that a model goes by it.

The planted failure of Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016 (snow behind wolves), with a
cause that is known to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from winnow.evaluate.lime_study import Found

SIDE = 0.125
"""Side of the mark as a share of the image's shorter side."""


def mark_pixels(height: int, width: int) -> np.ndarray:
    """bool[height, width]: a square in the upper left corner, one pixel off the border."""
    side = max(2, round(SIDE * min(height, width)))
    inside = np.zeros((height, width), bool)
    inside[1 : 1 + side, 1 : 1 + side] = True
    return inside


def marked(pixels: np.ndarray) -> np.ndarray:
    """Copies of images uint8[n, h, w, c] with a checked mark, black and white, in single pixels."""
    height, width = pixels.shape[1:3]
    inside = mark_pixels(height, width)
    checked = 255 * (np.add.outer(np.arange(height), np.arange(width)) % 2)
    shown = np.where(inside, checked, 0).astype(np.uint8)
    return np.where(inside[..., None], shown[..., None], pixels)


def mark_found(found: Sequence[Found | None], top: int) -> list[bool]:
    """Whether the `top` regions of highest positive weight cover half of the mark, for each explained image."""
    seen = []
    for one in found:
        if one is None:
            continue
        labels, explanation = one
        order = np.argsort(-explanation.weight, kind="stable")[:top]
        order = order[explanation.weight[order] > 0]
        inside = mark_pixels(*labels.shape)
        seen.append(bool(np.isin(labels[inside], order).mean() >= 0.5))
    return seen
