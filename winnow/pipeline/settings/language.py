"""Settings of language models' evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import System, _distinct

Orders = Annotated[list[Annotated[int, Field(ge=1, le=7)]], Field(min_length=1), AfterValidator(_distinct)]


class LanguageModels(System):
    """Bits per byte of a language model and of n-gram models with Kneser-Ney smoothing, on texts near and far."""

    pictures = ("bits_per_byte",)
    model: str = "transformer"
    """Train or compress variant."""
    orders: Orders = [3, 6]
    """Longest runs of tokens that the n-gram models count."""
