"""What a piece of torch code computes, counted rather than timed: the same on every machine, however loaded it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_NO_WORK = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "lift_fresh"}


class Work(TorchDispatchMode):
    """Counts the work of what runs inside a `with` block.

    multiply_adds: of matrix products, convolutions and fused attention, masked scores included. entries: numbers that
    all other operations write; views write none. largest: entries of the largest tensor that an operation made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = self.entries = self.largest = 0

    @property
    def total(self) -> int:
        """Multiply-adds and entries: a matrix that is scaled counts as what it is."""
        return self.multiply_adds + self.entries

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        packet = func._overloadpacket
        if packet is _ATTENTION:
            query, key, value = args[:3]
            pairs = query.shape[:-1].numel() * key.shape[-2]
            self.multiply_adds += pairs * (query.shape[-1] + value.shape[-1])
        elif packet in flop_registry:
            self.multiply_adds += flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
        elif not func.is_view and packet.__name__ not in _NO_WORK:
            self.entries += sum(made)
        self.largest = max(self.largest, *made, 0)
        return out
