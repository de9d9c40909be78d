"""Settings of the OpenCoder recipe."""

from __future__ import annotations

from pydantic import Field

from winnow.pipeline.settings.base import Seeds, System
from winnow.pipeline.settings.curate import Thresholds


class Opencoder(System):
    """Arms of a recipe for a corpus of code, judged by what as many tokens of each teach an n-gram model."""

    pictures = ("ablation", "funnel", "signals", "map")
    copies: float = Field(1.5, ge=0)
    """Planted forks of a file, on average; few repositories have many."""
    verbatim: float = Field(0.7, ge=0, le=1)
    """Share of them that are not edited; the others have a header and one more line."""
    similarity: float = Field(0.9786, gt=0, le=1)
    """Jaccard similarity from which on files, or repositories, are near copies."""
    thresholds: Thresholds = {}
    """Signal -> lowest and highest value, null for none, over the recipe's own."""
    share: float = Field(0.2, ge=0, le=1)
    """Of files of tests and data that stay."""
    budget: int = Field(400_000, ge=100)
    """Tokens that each arm is trained on."""
    order: int = Field(4, ge=1, le=5)
    """Longest runs of tokens that the n-gram model counts."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Forks, and orders of the files."""
