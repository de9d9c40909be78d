"""The most bytes of tensors that are alive at a time, counted rather than sampled: the same wherever it runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts what runs inside a `with` block, beside tensors that are `held` before it.

    peak: the most bytes at a time. Memory that tensors share counts once. What numpy holds does not count.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in held:
            self._met(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._met(leaf)
        return out

    def _met(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not size or place in self.alive:
            return
        self.alive[place] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        # The object of a storage lives as long as the memory does.
        weakref.finalize(storage, self._gone, place)

    def _gone(self, place: int) -> None:
        self.now -= self.alive.pop(place)
