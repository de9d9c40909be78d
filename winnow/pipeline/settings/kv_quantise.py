"""Settings of key-value caches of few bits."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Section, Seeds, System, _distinct

Bits = Annotated[int, Field(ge=1, le=8)]


def _falling(levels: list[int]) -> list[int]:
    if any(a <= b for a, b in pairwise(levels)):
        raise ValueError(f"levels {levels} do not fall; order them from many bits to few")
    return levels


Levels = Annotated[list[Bits], Field(min_length=2), AfterValidator(_falling)]


class Cut(Section):
    """How a cache is cut into segments, and how many of them there are when it is judged."""

    segment: int = Field(16, ge=1)
    """Tokens that are quantised together; fewer than so many, the newest, are kept in full."""
    group: int = Field(16, ge=1)
    """Tokens or channels that share a scale and a zero of 16 bits each."""
    segments: int = Field(8, ge=1)
    """Quantised segments at which the tokens of one more segment are decoded and judged."""

    @model_validator(mode="after")
    def _divides(self) -> Cut:
        if self.segment % self.group:
            raise ValueError(f"segment is {self.segment}; it must be a multiple of group, {self.group}")
        return self


class KVQuantise(System):
    """Caches whose bits fall with the age of a token, beside one width of bits for all and other orders of the same."""

    pictures = ("quality", "orders", "ages", "sizes")
    works_on = "multi_query_transformer"
    model: str = "multi_query"
    """Train variant that decodes; a multi-query transformer."""
    cuts: Annotated[list[Cut], Field(min_length=1), AfterValidator(_distinct)] = [
        Cut(),
        Cut(segment=32, group=32, segments=7),
        Cut(segment=32, group=32, segments=11),
    ]
    """Caches that are judged; windows longer than those of training show what comes beyond."""
    uniform: Annotated[list[Bits], Field(min_length=1), AfterValidator(_distinct)] = [8, 4, 3, 2, 1]
    """Widths of bits for all tokens."""
    staircases: Annotated[list[Levels], Field(min_length=1), AfterValidator(_distinct)] = [
        [8, 4, 2],
        [4, 2],
        [4, 3, 2],
        [8, 6, 4, 3, 2],
        [8, 4, 2, 1],
    ]
    """Bits of a segment by its age, the last of all that are older."""
    reordered: Annotated[list[Levels], Field(min_length=1), AfterValidator(_distinct)] = [[8, 4, 2], [4, 2]]
    """Staircases whose bits are also rounded directly, in reverse, spread, and as two neighbouring widths."""
    judged: int = Field(16, ge=2)
    """Streams of the test split."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds of the model."""
