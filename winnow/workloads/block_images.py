"""Images made of blocks, one of which tells the class: BlockMNIST.

Shah, Jain and Netrapalli, "Do Input Gradients Highlight Discriminative Features?", NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from winnow.errors import InputError
from winnow.randomness import numpy_generator


@dataclass(frozen=True)
class BlockSet:
    """Images, their labels and where the class is told."""

    x: np.ndarray
    """float32[n, blocks * height, width], in the range of the images given and of the null block, 0 to 1."""
    y: np.ndarray
    """int64[n]"""
    signal_box: np.ndarray
    """int32[n, 4]: top, left, bottom, right of the signal block; bottom and right are one beyond it."""

    def inside(self) -> np.ndarray:
        """bool[n, blocks * height, width]: True in the signal block."""
        rows = np.arange(self.x.shape[1])[None, :, None]
        columns = np.arange(self.x.shape[2])[None, None, :]
        top, left, bottom, right = (self.signal_box[:, side, None, None] for side in range(4))
        return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def null_block(height: int, width: int) -> np.ndarray:
    """float32[height, width]: the outline of a square with both diagonals, 1 on 0, in the middle of the block.

    Its side is 20 of 28 pixels, as the authors have it, and in proportion to the shorter side of other blocks.
    """
    side = round(min(height, width) * 20 / 28)
    place = np.arange(side)
    square = np.zeros((side, side), np.float32)
    square[[0, -1], :] = square[:, [0, -1]] = 1
    square[place, place] = square[place, side - 1 - place] = 1
    block = np.zeros((height, width), np.float32)
    top, left = (height - side) // 2, (width - side) // 2
    block[top : top + side, left : left + side] = square
    return block


def block_images(
    images: np.ndarray,
    labels: np.ndarray,
    seed: int,
    position: Literal["random", "top"] = "random",
    blocks: int = 2,
) -> BlockSet:
    """Each image as the signal block of a column of blocks, all others the null block; the label stays.

    images: float[n, height, width] in [0, 1]. position: the signal's place in the column, drawn for each image anew, or
    always on top. Raises InputError for images of another shape or range, labels of another number, fewer than 2
    blocks, or another position.
    """
    if images.ndim != 3 or len(labels) != len(images):
        raise InputError(f"images are {images.shape} with {len(labels)} labels; give [n, height, width] and n labels")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise InputError("a pixel leaves the range from 0 to 1; scale the images to it")
    if blocks < 2:
        raise InputError(f"blocks is {blocks}; at least 2 are needed, one of them the signal")
    if position not in ("random", "top"):
        raise InputError(f"position is {position!r}; use random or top")
    n, height, width = images.shape
    place = numpy_generator(seed, "block images").integers(0, blocks, n) if position == "random" else np.zeros(n, int)
    column = np.tile(null_block(height, width), (n, blocks, 1, 1))
    column[np.arange(n), place] = images
    top = place * height
    box = np.stack([top, np.zeros(n, int), top + height, np.full(n, width)], axis=1)
    return BlockSet(
        column.reshape(n, blocks * height, width).astype(np.float32), np.asarray(labels, np.int64), box.astype(np.int32)
    )
