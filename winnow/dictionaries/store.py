"""Rows to train on: a matrix read in a shuffled order, or any iterable of matrices read in its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.randomness import torch_generator

Store = Any
"""float[n, d] as torch tensor or numpy array, or an iterable of such pieces [any number of rows, d]."""


class Statistics(NamedTuple):
    """What training needs to know of its first rows."""

    scale: float
    """sqrt(d) / E|x|: rows times this have mean norm sqrt(d)."""
    centre: Tensor
    """float32[d]: geometric median of the scaled rows."""
    variance: float
    """Mean squared distance of the scaled rows from their mean; the denominator of FVU."""


def in_memory(store: Store) -> bool:
    """Whether all rows lie in one matrix, which can be read in any order."""
    return hasattr(store, "shape")


def batches(store: Store, size: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Endless batches float32[size, d], from batch number `start` on.

    A matrix is read in a new random order each time through, by (seed, pass). An iterable is cut anew into
    batches and read again from its beginning when it ends.
    Raises InputError for an empty store, a piece that is no [n, d], a change of d, a row that is not finite,
    an iterable that can be read once only and is too short.
    """
    pieces = _shuffled(store, size, seed, start) if in_memory(store) else _rebatched(store, size, start)
    for number, piece in enumerate(pieces, start):
        rows = piece.float()
        # A finite sum proves all of them finite at a tenth of the price; the reverse does not hold.
        if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
            raise InputError(f"store: a row of batch {number} is NaN or infinite; drop it or capture it again")
        yield rows


def digest(rows: Tensor) -> str:
    """What tells rows float32[n, d] from others: the SHA-256 of their bytes."""
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()


def statistics(rows: Tensor) -> Statistics:
    """Scale, geometric median and variance of rows float32[n, d]; all zero rows keep the scale 1."""
    norm = float(rows.norm(dim=1).double().mean())
    scale = math.sqrt(rows.shape[1]) / norm if norm > 0 else 1.0
    scaled = rows * scale
    variance = float((scaled - scaled.mean(0)).square().sum(1).double().mean())
    return Statistics(scale, geometric_median(scaled), variance)


def geometric_median(rows: Tensor, iterations: int = 100, tolerance: float = 1e-5) -> Tensor:
    """The point with the least sum of distances to rows float[n, d], by Weiszfeld's iteration (1937).

    Stops when it moves by less than `tolerance` of the mean distance. A row that it meets exactly gets a
    large but finite weight.
    """
    centre = rows.mean(0)
    for _ in range(iterations):
        distance = (rows - centre).norm(dim=1)
        typical = distance.mean()
        if typical == 0:
            break
        weight = 1 / distance.clamp(min=1e-6 * float(typical))
        moved = (weight @ rows) / weight.sum()
        step, centre = (moved - centre).norm(), moved
        if step < tolerance * typical:
            break
    return centre


def _matrix(piece: Any) -> Tensor:
    tensor = piece if isinstance(piece, Tensor) else torch.as_tensor(piece)
    if tensor.ndim != 2 or tensor.shape[1] == 0:
        raise InputError(f"store: shape {tuple(tensor.shape)}; activations are a matrix [rows, dimensions]")
    if not tensor.is_floating_point():
        raise InputError(f"store: dtype {tensor.dtype}; activations are float32 or float16")
    return tensor


def _shuffled(store: Store, size: int, seed: int, start: int) -> Iterator[Tensor]:
    rows = _matrix(store)
    if len(rows) == 0:
        raise InputError("store: has no rows; capture activations first")
    position, current, order = start * size, -1, torch.empty(0)
    while True:
        taken, need = [], size
        while need:
            epoch, offset = divmod(position, len(rows))
            if epoch != current:
                current = epoch
                order = torch.randperm(len(rows), generator=torch_generator(seed, "sae", "rows", str(epoch)))
            taken.append(order[offset : offset + need])
            position, need = position + len(taken[-1]), need - len(taken[-1])
        yield rows.index_select(0, torch.cat(taken))


def _rebatched(store: Iterable[Any], size: int, start: int) -> Iterator[Tensor]:
    """Cut the pieces of an iterable into batches; the first `start` batches are read and thrown away."""
    held: list[Tensor] = []
    count, skip = 0, start * size
    for piece in _endless(store):
        rows = _matrix(piece)
        if held and rows.shape[1] != held[0].shape[1]:
            first = held[0].shape[1]
            raise InputError(f"store: rows have {first} dimensions at first, then {rows.shape[1]}; use one hook point")
        dropped = min(skip, len(rows))
        skip -= dropped
        held.append(rows[dropped:])
        count += len(rows) - dropped
        if count >= size:
            joined = torch.cat(held)
            whole = count // size * size
            yield from joined[:whole].split(size)
            held, count = [joined[whole:]], count - whole


def _endless(store: Iterable[Any]) -> Iterator[Any]:
    while True:
        rows = 0
        for piece in store:
            rows += len(piece)
            yield piece
        if rows == 0:
            raise InputError("store: has no rows; capture activations first, or one that restarts")
        if iter(store) is store:
            raise InputError(f"store: ends after {rows} rows; pass more, fewer steps, or one that restarts")
