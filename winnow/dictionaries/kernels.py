"""Compiled loops over the few active latents of a row; codes.py holds the same operations in plain torch.

Importing this module costs the import of numba, so only codes.py does it, on first use. A code is held row by
row: row n owns entries starts[n] to starts[n + 1] of `indices` and `values`, by rising index. Every kernel
releases the interpreter lock and works on a range of rows or on one residue class of latents, so the caller
may run several in threads: no entry of a result is written by two of them and no sum changes its order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Sums may be reordered within a vector register, or no dot product would use one; NaN stays NaN."""
    made: Callable[..., Any] = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})(function)
    return made


Array = Any
SPARE = 8
"""Candidates beyond k that a row may have before the smallest are struck out one by one."""


@compiled
def _count_above(row: Array, bound: float) -> float:
    """Counted in the row's own type: that is what the compiler turns into full vector instructions."""
    one, zero = row.dtype.type(1), row.dtype.type(0)
    count, bound = zero, row.dtype.type(bound)
    for i in range(len(row)):
        count += one if row[i] > bound else zero
    return count


@compiled
def _gather_above(row: Array, bound: float, indices: Array, values: Array) -> int:
    """Without a branch: every entry is written, the position moves on only past those above the bound."""
    count, bound = 0, row.dtype.type(bound)
    for j in range(len(row)):
        indices[count] = j
        values[count] = row[j]
        count += row[j] > bound
    return count


@compiled
def _bound_of_row(row: Array, k: int, guess: float) -> float:
    """A bound that between k and k + SPARE entries exceed, or one that more exceed if ties allow no
    better."""
    low, high = row.dtype.type(0), row.dtype.type(np.inf)
    bound = row.dtype.type(guess)
    for _ in range(40):
        above = _count_above(row, bound)
        if above < k:
            high = bound
        elif above > k + SPARE:
            low = bound
        else:
            return bound
        if np.isinf(high):
            bound = bound + bound
        else:
            bound = low + (high - low) * row.dtype.type(0.5)
        if bound <= low or bound >= high:
            break
    return low


@compiled
def _strike_smallest(indices: Array, values: Array, count: int) -> None:
    """Remove the smallest of `count` entries; of equal ones the last."""
    smallest = 0
    for p in range(1, count):
        if values[p] <= values[smallest]:
            smallest = p
    for p in range(smallest, count - 1):
        indices[p] = indices[p + 1]
        values[p] = values[p + 1]


@compiled
def top_of_rows(pre: Array, k: int, begin: int, end: int) -> tuple[Array, Array, Array]:
    """The k largest positive entries of each row, ties to the lower index: (counts, indices, values)."""
    m = pre.shape[1]
    indices = np.empty((end - begin) * k + m + 1, np.int32)
    values = np.empty((end - begin) * k + m + 1, pre.dtype)
    counts = np.empty(end - begin, np.int64)
    filled, guess = 0, 1.0
    for n in range(begin, end):
        row, bound = pre[n], 0.0
        if _count_above(row, bound) > k:
            bound = _bound_of_row(row, k, guess)
            guess = bound if bound > 0 else guess
        count = _gather_above(row, bound, indices[filled:], values[filled:])
        while count > k:
            _strike_smallest(indices[filled:], values[filled:], count)
            count -= 1
        counts[n - begin] = count
        filled += count
    return counts, indices[:filled], values[:filled]


@compiled
def between(pre: Array, low: Array, high: Array, capacity: int, begin: int, end: int) -> tuple[Array, Array, Array]:
    """Entries with low[j] < pre < high[j]: (counts, indices, values), up to the row that exceeds `capacity`."""
    m = pre.shape[1]
    indices = np.empty(capacity + m + 1, np.int32)
    values = np.empty(capacity + m + 1, pre.dtype)
    counts = np.zeros(end - begin, np.int64)
    filled = 0
    for n in range(begin, end):
        row, start = pre[n], filled
        for j in range(m):
            indices[filled] = j
            values[filled] = row[j]
            filled += (row[j] > low[j]) & (row[j] < high[j])
        counts[n - begin] = filled - start
        if filled > capacity:
            break
    return counts, indices[:filled], values[:filled]


@compiled
def keep_largest(counts: Array, indices: Array, values: Array, keep: int, bits: Array) -> int:
    """Keep the `keep` largest of all positive values, ties to the earlier entry; in place, returns how many.

    bits: the values seen as integers, which order positive floats. The smallest kept value is found exactly
    by halving the interval of integers.
    """
    total = len(values)
    if total <= keep:
        return total
    low, high = bits.dtype.type(0), bits.max()  # more than `keep` exceed low; at most `keep` exceed high
    while high - low > 1:
        middle = low + (high - low) // 2
        above = 0
        for i in range(total):
            above += bits[i] > middle
        if above > keep:
            low = middle
        else:
            high = middle
    above = 0
    for i in range(total):
        above += bits[i] > high
    ties = keep - above
    filled, position = 0, 0
    for n in range(len(counts)):
        kept = 0
        for _ in range(counts[n]):
            bit = bits[position]
            tie = (bit == high) & (ties > 0)
            ties -= tie
            indices[filled] = indices[position]
            values[filled] = values[position]
            filled += (bit > high) | tie
            kept += (bit > high) | tie
            position += 1
        counts[n] = kept
    return filled


@compiled
def decode(starts: Array, indices: Array, values: Array, weight: Array, begin: int, end: int, out: Array) -> None:
    """out[n] = sum of values * weight[indices] over row n; four latents at a time spare trips to memory."""
    for n in range(begin, end):
        row, p, stop = out[n], starts[n], starts[n + 1]
        row[:] = 0
        while p + 4 <= stop:
            a, b, c, e = values[p], values[p + 1], values[p + 2], values[p + 3]
            first, second = weight[indices[p]], weight[indices[p + 1]]
            third, fourth = weight[indices[p + 2]], weight[indices[p + 3]]
            for i in range(len(row)):
                row[i] += a * first[i] + b * second[i] + c * third[i] + e * fourth[i]
            p += 4
        while p < stop:
            a, first = values[p], weight[indices[p]]
            for i in range(len(row)):
                row[i] += a * first[i]
            p += 1


@compiled
def dots(starts: Array, indices: Array, grad: Array, weight: Array, begin: int, end: int, out: Array) -> None:
    """out[p] = grad[n] . weight[indices[p]] for every entry p of row n."""
    for n in range(begin, end):
        row = grad[n]
        for p in range(starts[n], starts[n + 1]):
            other = weight[indices[p]]
            total = row.dtype.type(0)
            for i in range(len(row)):
                total += row[i] * other[i]
            out[p] = total


@compiled
def outer(starts: Array, indices: Array, values: Array, grad: Array, part: int, parts: int, out: Array) -> None:
    """out[j] += values * grad[n] over the entries of latent j, for the latents with j % parts == part."""
    for n in range(len(starts) - 1):
        row = grad[n]
        for p in range(starts[n], starts[n + 1]):
            j = indices[p]
            if parts == 1 or j % parts == part:
                value, target = values[p], out[j]
                for i in range(len(row)):
                    target[i] += value * row[i]


@compiled
def column_sums(indices: Array, values: Array, out: Array) -> None:
    """out[j] += the values of latent j."""
    for p in range(len(indices)):
        out[indices[p]] += values[p]
