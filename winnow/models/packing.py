"""Weights of one to eight bits: codes packed without gaps, a scale and a zero point for each run of inputs."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError


class FewBits(NamedTuple):
    """A weight of few bits: codes uint8[out, in]; scale float16 and zero uint8 [out, runs], of `group` inputs a run."""

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    group: int

    def dense(self) -> Tensor:
        """The weight float32[out, in]: scale * (code - zero)."""
        columns = self.codes.shape[1]
        scale, zero = (p.float().repeat_interleave(self.group, dim=1)[:, :columns] for p in (self.scale, self.zero))
        return scale * (self.codes.float() - zero)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes below 2^bits, uint8 of any shape, as bytes uint8[ceil(n * bits / 8)], in flat order.

    Raises InputError for bits outside 1 to 8 or a code that needs more of them.
    """
    flat = codes.flatten().numpy()
    if not 1 <= bits <= 8 or (flat >> bits if bits < 8 else flat * 0).any():
        raise InputError(f"bits is {bits}; give 1 to 8 that hold every code")
    single = np.unpackbits(flat[:, None], axis=1, count=bits, bitorder="little")
    return torch.from_numpy(np.packbits(single))


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The `count` codes uint8[count] that `pack` made bytes of; raises InputError for too few or too many bytes."""
    if packed.dtype != torch.uint8 or packed.shape != (-(-count * bits // 8),):
        raise InputError(f"{packed.numel()} bytes are not {count} codes of {bits} bits; pack them again")
    if 8 % bits == 0:
        return torch.from_numpy(_codes_of_bytes(bits)[packed.numpy()].reshape(-1)[:count])
    return torch.from_numpy(_codes(packed.numpy(), bits, count))


def _codes(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    single = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    codes: np.ndarray = np.packbits(single, axis=1, bitorder="little")[:, 0]
    return codes


@cache
def _codes_of_bytes(bits: int) -> np.ndarray:
    """The codes uint8[256, 8 / bits] of each byte, where none reaches over into the next."""
    return _codes(np.arange(256, dtype=np.uint8), bits, 256 * 8 // bits).reshape(256, -1)
