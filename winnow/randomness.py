"""All randomness of the project comes from here: independent streams named by what they are for."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch


def stream_seed(seed: int, *names: str) -> int:
    """A 63-bit seed for the stream that `names` describe.

    Streams of different names or seeds are independent, so adding one never shifts another.
    """
    key = "\0".join((str(int(seed)), *names)).encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> 1


def torch_generator(seed: int, *names: str) -> torch.Generator:
    """A CPU torch generator for the named stream."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, *names))


def numpy_generator(seed: int, *names: str) -> numpy.random.Generator:
    """A numpy generator for the named stream."""
    import numpy

    return numpy.random.default_rng(stream_seed(seed, *names))
