"""Inputs from 0 to 1, for methods whose centres and distances live in that scale, and its points for the eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.models.tables import TableEncoder
from winnow.workloads.tables import Tables

if TYPE_CHECKING:
    from winnow.workloads import Labelled

Show = Callable[[Tensor], list[list[dict[str, Any]]]]
"""Points [n, D] of the unit interval -> for each of them rows of a table that show it."""


def unit_inputs(workload: Labelled, splits: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """split -> inputs float32[n, D], from 0 to 1 over the training split and clipped there elsewhere, and int64[n].

    Images have one scale for all pixels. Tables have one for each column, a category being an indicator for each level;
    a column that does not vary in training is 0. Raises InputError where the target is a number, for want of classes.
    """
    if not workload.classes:
        raise InputError(f"{workload.name}: its target is a number; clusters and components need classes to stand for")
    encode: Callable[[Tensor], Tensor]
    if isinstance(workload, Tables):
        encode = TableEncoder(workload.levels)
        train = encode(workload.arrays("train")[0])
        low, high = train.amin(dim=0), train.amax(dim=0)
        high = high.where(high > low, low + 1)
    else:
        encode = partial(torch.flatten, start_dim=1)
        train = workload.arrays("train")[0]
        low, high = train.min(), train.max()
    rows = {split: workload.arrays(split) for split in splits}
    return {split: (((encode(x) - low) / (high - low)).clamp(0, 1), y) for split, (x, y) in rows.items()}


def shown_by(workload: Labelled) -> Show:
    """How points among the unit inputs of a workload are shown: images as pixels, rows of a table by their columns."""
    if isinstance(workload, Tables):
        return partial(as_columns, names=workload.encoded_names())
    return partial(as_images, shape=workload.shape)


def as_images(points: Tensor, shape: tuple[int, int, int]) -> list[list[dict[str, Any]]]:
    """height, width, channels, pixels [h, w, c] of 0 to 255: one row for each point. shape: channels, height, width."""
    grey = (255 * points.view(-1, *shape)).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    channels, height, width = shape
    sizes = {"height": height, "width": width, "channels": channels}
    return [[sizes | {"pixels": image.flatten().tolist()}] for image in grey]


def as_columns(points: Tensor, names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """column, value from 0 to 1: as many rows for each point as it has columns."""
    cells = [zip(names, point, strict=True) for point in points.tolist()]
    return [[{"column": name, "value": value} for name, value in point] for point in cells]
