"""Settings of paging with predictions."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Seeds, System, _distinct

Shares = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1), AfterValidator(_distinct)]
Chances = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1), AfterValidator(_distinct)]
OWN = ("imports", "calls")


def _others(traces: dict[str, str]) -> dict[str, str]:
    taken = [name for name in OWN if name in traces]
    if taken:
        raise ValueError(f"{taken[0]} is a trace already; name yours otherwise")
    return traces


Traces = Annotated[dict[Annotated[str, Field(pattern="^[a-z0-9_]+$")], str], AfterValidator(_others)]
CacheSizes = Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1), AfterValidator(_distinct)]


class Paging(System):
    """Caches that are told one bit for each request, on what source files import and call, and on bad traces."""

    pictures = ("gap", "noise", "timeline")
    shares: Shares = [0.05, 0.1, 0.2]
    """Sizes of the cache, as shares of the pages of a trace."""
    limit: int = Field(20_000, ge=100)
    """Requests of a trace that are used, the first in a random order of packages."""
    traces: Traces = {}
    """Further traces, by name: parquet files with the columns t and key, pages of one size."""
    chances: Chances = [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0]
    """Chances with which true bits are flipped."""
    audited_requests: int = Field(6, ge=3, le=8)
    """Length of the traces of which all are audited."""
    audited_sizes: CacheSizes = [2, 3]
    """Sizes of the cache in the audits."""
    search_starts: int = Field(10, ge=1)
    """Random traces, three times as long as the audited, from which bad ones are climbed to."""
    search_steps: int = Field(300, ge=1)
    """Changes tried from each."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Orders of the packages, and random choices."""


class ItemPaging(System):
    """Caches that are told one bit for each request, on the items that all users took, in the order of time."""

    pictures = ("gap",)
    shares: Shares = [0.05, 0.1, 0.2]
    """Sizes of the cache, as shares of the items."""
    limit: int = Field(100_000, ge=100)
    """Events that are used, the first in time."""
    draws: int = Field(20, ge=1)
    """Runs of each randomised policy, of which the mean counts."""
    blocks: int = Field(20, ge=2)
    """Stretches of the second half over which intervals are taken."""
    seeds: Seeds | None = [0]
    """Random choices; there is one trace, and its bits are learned once."""
