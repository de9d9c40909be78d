"""Pairs of images as one input in which no single number tells of one image alone, and what can be asked of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.randomness import torch_generator

Question = Literal["apart", "coupled"]


class DigitPairs(NamedTuple):
    """Inputs float32[n, 2 d], each a pair turned by one rotation, and the classes int64[n, 2] of both images."""

    x: Tensor
    digits: Tensor

    def answers(self, question: Question, classes: int) -> Tensor:
        """int64[n, 2]: apart asks for each class; coupled for their sum and their difference modulo `classes`.

        Either question has two answers among as many classes; those of coupled need both images each.
        """
        first, second = self.digits.T
        if question == "apart":
            return self.digits
        return torch.stack([(first + second) % classes, (first - second) % classes], dim=1)


def rotation(size: int, seed: int) -> Tensor:
    """A random rotation or reflection float64[size, size]."""
    generator = torch_generator(seed, "digit pairs", "rotation")
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q.contiguous()


def digit_pairs(images: Tensor, labels: Tensor, count: int, turn: Tensor, seed: int, split: str) -> DigitPairs:
    """`count` pairs drawn from images float[n, ...] with labels int64[n], side by side and turned by float[2 d, 2 d].

    split: name of the split, so that pairs of several are drawn apart. Raises InputError where sizes do not fit.
    """
    rows = images.flatten(1)
    if turn.shape != (2 * rows.shape[1],) * 2:
        raise InputError(f"rotation: is {tuple(turn.shape)}; two images of {rows.shape[1]} pixels need twice as many")
    generator = torch_generator(seed, "digit pairs", "drawn", split)
    drawn = torch.randint(len(rows), (2, count), generator=generator)
    x = torch.cat([rows[drawn[0]], rows[drawn[1]]], dim=1).to(turn.dtype) @ turn.T
    return DigitPairs(x.float(), labels[drawn].T.contiguous())
