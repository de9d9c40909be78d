"""Settings of what is left of language models after compression."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Names, Seeds, System, _distinct
from winnow.pipeline.settings.kv_quantise import Cut
from winnow.pipeline.settings.language import Orders

Levels = Annotated[list[Annotated[int, Field(ge=1, le=32)]], Field(min_length=1)]


class LanguageCompression(System):
    """Dense and compressed language models side by side: text, bytes, memory, speed. Needs evopress and duo."""

    pictures = ("trade", "parameters", "costs")
    models: Names = ["transformer", "transformer-*", "multi_query", "deep_transformer", "lm_code", "lm_code-*"]
    """Train and compress variants, dense and pruned; * stands for any letters."""
    streamed: str = "multi_query"
    """Train variant that reads from caches of few bits; a multi-query transformer."""
    caches: Annotated[list[Levels], Field(min_length=1), AfterValidator(_distinct)] = [
        [16],
        [16, 8],
        [16, 4],
        [16, 2],
        [16, 8, 4, 2],
    ]
    """Bits of numbers from the newest tokens to the oldest, the first in full."""
    cut: Cut = Cut()
    """Tokens that are quantised together, and those that share a scale; segments are as many as a context holds."""
    orders: Orders = [3, 6]
    """Longest runs of tokens that the n-gram models beside them count."""
    judged_bytes: int = Field(12_000, ge=100)
    """Text of the held_out split that every model reads, about."""
    tokens: int = Field(64, ge=1)
    """Of a text that is drawn where speed is measured."""
    seeds: Seeds | None = [0]
    """Seeds of the models; EvoPress made one of each."""
