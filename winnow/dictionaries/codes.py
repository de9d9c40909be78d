"""Which latents of each row are active, and the four products a training step takes with them.

A `Dense` code is plain torch over all m latents, readable and differentiable by eye. A `Compact` code holds
the active entries alone and runs the compiled loops of kernels.py; the results agree to rounding. A backend
makes codes: `TorchBackend` dense ones, `CompiledBackend` compact ones (dense where so many latents are active
that a matrix product is cheaper).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor

from winnow.errors import InputError

DENSE_ABOVE = 0.12
"""Share of active entries from which dense products cost less CPU than gathered ones (d 128, m 1024,
AVX2)."""


class Code(Protocol):
    """Active entries of a batch of b rows over m latents."""

    @property
    def values(self) -> Tensor:
        """One per active entry; the layout is the code's own."""

    def with_values(self, values: Tensor) -> Code:
        """The same entries with other values."""

    def decode(self, weight: Tensor) -> Tensor:
        """Sum over active latents of value * weight row: float[b, d] for weight float[m, d]."""

    def dots(self, grad: Tensor, weight: Tensor) -> Tensor:
        """grad[n] . weight[j] for every active entry (n, j), shaped like `values`, zero where inactive."""

    def outer(self, grad: Tensor) -> Tensor:
        """float[m, d]: sum over rows of value * grad[n]."""

    def column_sums(self) -> Tensor:
        """float[m]: sum of the values of each latent."""

    def per_latent(self, vector: Tensor) -> Tensor:
        """vector[j] for every active entry, shaped like `values`, zero where inactive."""

    def count(self) -> int:
        """Number of active entries."""

    def fired(self) -> Tensor:
        """bool[m]: active in any row."""


def above(pre: Tensor, low: Tensor | float) -> Tensor:
    """1 where pre is above `low`, else 0, in the type of pre."""
    return torch.gt(pre, low, out=torch.empty_like(pre))


@dataclass(frozen=True)
class Dense:
    """values float[b, m], zero where `active` is; that is 1 elsewhere, a float, as products with bool are slow."""

    values: Tensor
    active: Tensor

    @property
    def mask(self) -> Tensor:
        """bool[b, m]: the active entries."""
        return self.active > 0

    def with_values(self, values: Tensor) -> Dense:
        return replace(self, values=values)

    def decode(self, weight: Tensor) -> Tensor:
        return self.values @ weight

    def dots(self, grad: Tensor, weight: Tensor) -> Tensor:
        return (grad @ weight.mT).mul_(self.active)

    def outer(self, grad: Tensor) -> Tensor:
        return self.values.mT @ grad

    def column_sums(self) -> Tensor:
        return self.values.sum(0)

    def per_latent(self, vector: Tensor) -> Tensor:
        return vector * self.active

    def count(self) -> int:
        return int(self.active.sum(0).double().sum())

    def fired(self) -> Tensor:
        return self.active.sum(0) > 0


class TorchBackend:
    """Dense codes in plain torch: the fallback without numba, and the form that tests read as the
    definition."""

    def top_of_rows(self, pre: Tensor, k: int) -> Code:
        """The k largest positive entries of each row, ties to the lower index."""
        smallest = torch.topk(pre, k, dim=1).values[:, -1:]
        mask = pre >= smallest
        if int(mask.sum()) > k * len(pre):
            room = k - (pre > smallest).sum(1, keepdim=True)
            tied = pre == smallest
            mask &= ~tied | (tied.cumsum(1) <= room)
        mask &= pre > 0
        return Dense(torch.where(mask, pre, 0), mask.to(pre.dtype))

    def top_of_batch(self, pre: Tensor, keep: int) -> Code:
        """The `keep` largest positive entries of the batch, ties to the earlier entry in row order."""
        flat = pre.flatten()
        smallest = torch.topk(flat, keep, sorted=False).values.min() if keep < len(flat) else flat.min()
        mask = flat > smallest
        tied = (flat == smallest).nonzero().flatten()
        mask[tied[: keep - int(mask.sum())]] = True
        mask = mask.view_as(pre) & (pre > 0)
        return Dense(torch.where(mask, pre, 0), mask.to(pre.dtype))

    def between(self, pre: Tensor, low: Tensor, high: Tensor | None = None) -> Code:
        """The entries with low[j] < pre < high[j]; None is no upper bound."""
        active = above(pre, low)
        if high is not None:
            active *= torch.lt(pre, high, out=torch.empty_like(pre))
        return Dense(pre * active, active)


@dataclass(frozen=True)
class Compact:
    """Entries row by row: row n owns starts[n] to starts[n + 1] of indices int32 and values."""

    starts: Tensor
    indices: Tensor
    values: Tensor
    m: int
    backend: CompiledBackend

    def with_values(self, values: Tensor) -> Compact:
        return replace(self, values=values)

    def _by_rows(self, kernel: Callable[..., None], *arguments: Any) -> None:
        *read, out = arguments
        self.backend.run(lambda begin, end: kernel(*read, begin, end, out), len(self.starts) - 1)

    def decode(self, weight: Tensor) -> Tensor:
        from winnow.dictionaries import kernels

        out = weight.new_empty(len(self.starts) - 1, weight.shape[1])
        weight = weight.contiguous()
        self._by_rows(kernels.decode, *_arrays(self.starts, self.indices, self.values, weight, out))
        return out

    def dots(self, grad: Tensor, weight: Tensor) -> Tensor:
        from winnow.dictionaries import kernels

        out = torch.empty_like(self.values)
        self._by_rows(kernels.dots, *_arrays(self.starts, self.indices, grad, weight.contiguous(), out))
        return out

    def outer(self, grad: Tensor) -> Tensor:
        from winnow.dictionaries import kernels

        out = grad.new_zeros(self.m, grad.shape[1])
        arrays = _arrays(self.starts, self.indices, self.values, grad)
        # Every thread owns a residue class of latents: no atomic addition, the same sums at any number of
        # threads.
        parts = self.backend.threads
        self.backend.run(lambda part, _: kernels.outer(*arrays, part, parts, out.numpy()), parts)
        return out

    def column_sums(self) -> Tensor:
        from winnow.dictionaries import kernels

        out = self.values.new_zeros(self.m)
        kernels.column_sums(*_arrays(self.indices, self.values, out))
        return out

    def per_latent(self, vector: Tensor) -> Tensor:
        return vector[self.indices]

    def count(self) -> int:
        return len(self.indices)

    def fired(self) -> Tensor:
        return torch.zeros(self.m, dtype=torch.bool).index_fill_(0, self.indices.long(), True)


class CompiledBackend:
    """Compact codes by compiled loops, in `threads` threads; results do not depend on their number."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.batch_bound = 0.0

    def run(self, work: Callable[[int, int], Any], rows: int) -> list[Any]:
        """work(begin, end) over equal ranges of `rows`, one per thread, results in order."""
        if self.pool is None:
            return [work(0, rows)]
        bounds = [rows * part // self.threads for part in range(self.threads + 1)]
        return list(self.pool.map(work, bounds[:-1], bounds[1:]))

    def _code(self, parts: list[tuple[Any, Any, Any]], m: int) -> Compact:
        columns = [[torch.from_numpy(part[i]) for part in parts] for i in range(3)]
        counts, indices, values = (column[0] if len(parts) == 1 else torch.cat(column) for column in columns)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Compact(starts, indices, values, m, self)

    def top_of_rows(self, pre: Tensor, k: int) -> Code:
        """The k largest positive entries of each row, ties to the lower index."""
        from winnow.dictionaries import kernels

        (array,) = _arrays(pre)
        parts = self.run(lambda begin, end: kernels.top_of_rows(array, k, begin, end), len(pre))
        return self._code(parts, pre.shape[1])

    def top_of_batch(self, pre: Tensor, keep: int) -> Code:
        """The `keep` largest positive entries of the batch, ties to the earlier entry in row order."""
        from winnow.dictionaries import kernels

        # Most entries fall to a bound guessed from the last batch; where it was too high, all positive ones
        # compete.
        parts = self._above(pre, torch.full_like(pre[0], self.batch_bound))
        if sum(len(part[1]) for part in parts) < keep:
            parts = self._above(pre, torch.zeros_like(pre[0]))
        code = self._code(parts, pre.shape[1])
        counts, indices, values = code.starts.diff(), code.indices, code.values
        bits = values.view(torch.int32 if values.dtype == torch.float32 else torch.int64)
        kept = kernels.keep_largest(*_arrays(counts, indices, values), keep, bits.numpy())
        if kept == keep:
            self.batch_bound = 0.8 * float(values[:kept].min())
        return self._code([(counts.numpy(), indices[:kept].numpy(), values[:kept].numpy())], pre.shape[1])

    def _above(self, pre: Tensor, low: Tensor) -> list[tuple[Any, Any, Any]]:
        return self._between(pre, low, None, pre.numel())

    def _between(self, pre: Tensor, low: Tensor, high: Tensor | None, capacity: int) -> list[tuple[Any, Any, Any]]:
        from winnow.dictionaries import kernels

        arrays = _arrays(pre, low, torch.full_like(low, float("inf")) if high is None else high)
        return self.run(lambda begin, end: kernels.between(*arrays, capacity, begin, end), len(pre))

    def between(self, pre: Tensor, low: Tensor, high: Tensor | None = None) -> Code:
        """The entries with low[j] < pre < high[j]; dense where they are many. None is no upper bound."""
        capacity = int(DENSE_ABOVE * pre.numel())
        parts = self._between(pre, low, high, capacity)
        if sum(len(part[1]) for part in parts) > capacity:
            return TorchBackend().between(pre, low, high)
        return self._code(parts, pre.shape[1])


Backend = TorchBackend | CompiledBackend


def make_backend(name: str, threads: int = 1) -> Backend:
    """The backend called `name`: torch, numba, or auto (numba where it is installed)."""
    if name not in ("auto", "numba", "torch"):
        raise InputError(f"backend: {name!r} is unknown; choose auto, numba or torch")
    if name == "torch" or (name == "auto" and find_spec("numba") is None):
        return TorchBackend()
    if find_spec("numba") is None:
        raise InputError("backend: 'numba' is not installed; install numba or choose torch")
    return CompiledBackend(threads)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.contiguous().numpy() for tensor in tensors]
