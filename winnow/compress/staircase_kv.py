"""Key-value caches of few bits: staircase adaptive quantisation, coarser the older a token is.

Li, "The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI", arXiv 2410.18441,
2024. What it starts from, one width of bits for all but the newest tokens, keys in groups along tokens and values in
groups along channels: Liu et al., "KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache", ICML 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.models.packing import pack, unpack

EXACT = {16: torch.float16, 32: torch.float32}
"""Levels that store numbers as they are."""
NEVER = 2**40  # segments of so many groups of tokens do not fill
LEAST_SCALE = 2.0**-24  # float16 knows none smaller

Schedule = Callable[[int], list[int]]
"""Number of segments -> bits of each, the newest first."""


class Quantised(NamedTuple):
    """Numbers [n, heads, t, d] as packed codes, with scale and zero float16[n, heads, t, d] along one axis shorter."""

    packed: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    axis: int
    shape: torch.Size

    def dense(self) -> Tensor:
        """The numbers float32[n, heads, t, d]: scale * code + zero."""
        codes = unpack(self.packed, self.bits, self.shape.numel()).view(self.shape).float()
        groups = codes.unflatten(self.axis, (self.scale.shape[self.axis], -1))
        scale, zero = (part.float().unsqueeze(self.axis + 1) for part in (self.scale, self.zero))
        return (groups * scale + zero).flatten(self.axis, self.axis + 1)

    def bytes(self) -> int:
        """Bytes of codes, scales and zeros."""
        return sum(part.nbytes for part in (self.packed, self.scale, self.zero))


def quantise(x: Tensor, bits: int, axis: int, group: int) -> Quantised:
    """Round float[n, heads, t, d] to 2^bits even steps from least to greatest of each run of `group` along an axis.

    Scale and zero are rounded to float16 before the codes are, so that these make up for it. Raises InputError for
    bits outside 1 to 8, an axis that is no multiple of the group, or numbers beyond float16.
    """
    if not 1 <= bits <= 8:
        raise InputError(f"bits is {bits}; give 1 to 8")
    if group < 1 or x.shape[axis] % group:
        raise InputError(f"group is {group}; it must divide the {x.shape[axis]} numbers along axis {axis}")
    groups = x.float().unflatten(axis, (-1, group))
    least, greatest = groups.amin(axis + 1), groups.amax(axis + 1)
    scale, zero = ((greatest - least) / (2**bits - 1)).clamp(min=LEAST_SCALE).half(), least.half()
    if not (scale.isfinite().all() and zero.isfinite().all()):
        raise InputError("x: has numbers that float16 cannot hold; a cache needs finite keys and values")
    steps = (groups - zero.float().unsqueeze(axis + 1)) / scale.float().unsqueeze(axis + 1)
    codes = steps.round().clamp(0, 2**bits - 1).to(torch.uint8)
    return Quantised(pack(codes, bits), scale, zero, bits, axis, x.shape)


def staircase(levels: tuple[int, ...]) -> Schedule:
    """One segment at each level but the last, which all older segments have."""
    return lambda segments: [levels[min(age, len(levels) - 1)] for age in range(segments)]


def reverse(levels: tuple[int, ...]) -> Schedule:
    """The levels of the staircase, the oldest segment at the highest."""
    return lambda segments: staircase(levels)(segments)[::-1]


def spread(levels: tuple[int, ...]) -> Schedule:
    """The levels of the staircase, those above the lowest at even distances among all segments."""

    def bits(segments: int) -> list[int]:
        found, high = [levels[-1]] * segments, levels[:-1]
        if segments <= len(high):
            return staircase(levels)(segments)
        for place, level in enumerate(high):
            found[(place + 1) * segments // (len(high) + 1)] = level
        return found

    return bits


def mixed(levels: tuple[int, ...], segments: int) -> Schedule:
    """As many bits as the staircase has in so many segments, on two neighbouring widths that go by birth, not by age.

    A segment keeps its width for good; the wider ones are born at even distances.
    """
    total = sum(staircase(levels)(segments))
    low, wider = divmod(total, segments)

    def bits(count: int) -> list[int]:
        born = [low + ((i + 1) * wider // segments > i * wider // segments) for i in range(count)]
        return born[::-1]

    return bits


class Segment(NamedTuple):
    """Tokens that are quantised together; `original` is kept where a cache may start from it again."""

    keys: Quantised
    values: Quantised
    original: tuple[Tensor, Tensor] | None


class SegmentCache:
    """The newest tokens, fewer than a segment, in full; older ones in segments whose bits a schedule sets.

    Arrays are float32[n, shared heads, t, d]. exact: 16 or 32 bits of numbers in full. group: tokens that share a scale
    of a key's channel, and channels that share one of a token's value, all of them where there are fewer. mode chain
    rounds a segment anew from what it was rounded to before, all that a stream has; direct from the numbers
    themselves, which it keeps beside the cache, as a yardstick. Raises InputError for a group that does not divide the
    segment.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        segment: int = 16,
        group: int = 16,
        exact: int = 16,
        mode: Literal["chain", "direct"] = "chain",
    ) -> None:
        if segment < 1 or group < 1 or segment % group:
            raise InputError(f"segment is {segment}; it must be a multiple of group, {group}")
        if exact not in EXACT or mode not in ("chain", "direct"):
            raise InputError(f"exact is {exact} and mode {mode!r}; give 16 or 32, and chain or direct")
        self.schedule, self.segment, self.group, self.mode = schedule, segment, group, mode
        self.dtype = EXACT[exact]
        self.segments: list[Segment] = []
        """The newest first."""
        self.residual: tuple[Tensor, Tensor] | None = None

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Take in the next t tokens, as if one after another; a residual that is full becomes the newest segment."""
        self._extend(keys, values)
        while self._waiting() >= self.segment:
            newest = self._taken()
            wanted = self.schedule(len(self.segments) + 1)
            older = zip(self.segments, wanted[1:], strict=True)
            self.segments = [self._quantised(*newest, wanted[0]), *(self._moved(each, bits) for each, bits in older)]

    def prefill(self, keys: Tensor, values: Tensor) -> None:
        """Take in a prompt: each segment is rounded once, to the bits that its age in the end demands.

        Raises InputError for a cache that is not empty.
        """
        if self.segments or self.residual is not None:
            raise InputError("cache: is not empty; a prompt comes first")
        self._extend(keys, values)
        for bits in reversed(self.schedule(self._waiting() // self.segment)):
            self.segments.insert(0, self._quantised(*self._taken(), bits))

    def attend(self, query: Tensor) -> Tensor:
        """What queries float32[n, heads, 1, d] find among all tokens; heads in a row share a head of keys."""
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*self._dense(), strict=True))
        shared = query.shape[1] // keys.shape[1]
        keys, values = (part.repeat_interleave(shared, dim=1) if keys.shape[1] > 1 else part for part in (keys, values))
        scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
        return scores.softmax(-1) @ values

    def bytes(self) -> int:
        """Bytes of codes, scales, zeros and the residual."""
        segments = sum(part.bytes() for each in self.segments for part in (each.keys, each.values))
        return segments + sum(part.nbytes for part in self.residual or ())

    def bit_map(self) -> Tensor:
        """Bits int8[t] of each token's numbers, the oldest first."""
        bits = [each.keys.bits for each in reversed(self.segments) for _ in range(self.segment)]
        return torch.tensor(bits + [8 * self.dtype.itemsize] * self._waiting(), dtype=torch.int8)

    def _dense(self) -> list[tuple[Tensor, Tensor]]:
        parts = [(each.keys.dense(), each.values.dense()) for each in reversed(self.segments)]
        return parts if self.residual is None else [*parts, (self.residual[0].float(), self.residual[1].float())]

    def _waiting(self) -> int:
        return 0 if self.residual is None else self.residual[0].shape[2]

    def _extend(self, *new: Tensor) -> None:
        rounded = tuple(part.to(self.dtype) for part in new)
        if self.residual is not None:
            rounded = tuple(torch.cat(parts, dim=2) for parts in zip(self.residual, rounded, strict=True))
        self.residual = (rounded[0], rounded[1])

    def _taken(self) -> tuple[Tensor, Tensor]:
        """The oldest segment's worth of the residual, which it leaves."""
        assert self.residual is not None
        (keys, values), size = self.residual, self.segment
        # A copy: a view would keep the whole residual in memory.
        self.residual = (keys[:, :, size:].clone(), values[:, :, size:].clone()) if keys.shape[2] > size else None
        return keys[:, :, :size].float(), values[:, :, :size].float()

    def _quantised(self, keys: Tensor, values: Tensor, bits: int) -> Segment:
        original = (keys, values) if self.mode == "direct" else None
        channels = min(self.group, values.shape[-1])
        return Segment(quantise(keys, bits, 2, self.group), quantise(values, bits, 3, channels), original)

    def _moved(self, segment: Segment, bits: int) -> Segment:
        if bits == segment.keys.bits:
            return segment  # rounding again to the same steps would change nothing
        keys, values = segment.original or (segment.keys.dense(), segment.values.dense())
        return self._quantised(keys, values, bits)


class StaircaseCache(SegmentCache):
    """Levels of bits from the newest tokens to the oldest: full, then a segment each, the last for all that is older.

    levels: 16 or 32, then 8 to 1, falling. A single level keeps all tokens in full. Raises InputError for other levels.
    """

    def __init__(
        self,
        levels: tuple[int, ...] = (16, 4, 2),
        *,
        segment: int = 16,
        group: int = 16,
        mode: Literal["chain", "direct"] = "chain",
    ) -> None:
        falling = all(a > b for a, b in pairwise(levels))
        if not levels or levels[0] not in EXACT or not falling or any(not 1 <= b <= 8 for b in levels[1:]):
            raise InputError(f"levels is {levels}; give 16 or 32, then bits from 8 to 1 that fall")
        size = segment if len(levels) > 1 else NEVER * group
        super().__init__(staircase(levels[1:]), segment=size, group=group, exact=levels[0], mode=mode)


class FullCache(StaircaseCache):
    """All tokens in full, in 16 or 32 bits."""

    def __init__(self, exact: int = 16) -> None:
        super().__init__((exact,))


class KIVICache(StaircaseCache):
    """One width of bits for all tokens but the newest."""

    def __init__(self, bits: int = 2, *, segment: int = 16, group: int = 16) -> None:
        super().__init__((16, bits), segment=segment, group=group)
