"""Settings of attention over pairs of tokens."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

Bounds = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]
Lengths = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1), AfterValidator(_distinct)]


class KroneckerAttention(System):
    """Matching triples of numbers by attention over pairs and by ordinary attention, and errors of its fast form."""

    pictures = ("learning", "errors", "work", "speed")
    numbers: int = Field(8, ge=2)
    """Numbers of a sequence."""
    modulus: int = Field(31, ge=2)
    """They are below it, and sums are taken modulo it."""
    width: int = Field(64, ge=4)
    """Width of the networks, which have as many parameters each."""
    heads: int = Field(4, ge=1)
    """Heads."""
    steps: int = Field(1500, ge=1)
    """Steps of training."""
    batch_size: int = Field(64, ge=1)
    """Sequences a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak, of AdamW."""
    bounds: Bounds = [0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0]
    """Largest entries B of queries and keys in the map of errors."""
    largest_rank: int = Field(10_000, ge=1, le=50_000)
    """Rank up to which degrees of the polynomial are tried there, all from 0 on."""
    tokens: int = Field(256, ge=2)
    """Tokens there."""
    tokens_of_order_4: int = Field(32, ge=2)
    """Tokens there for order 4."""
    dimensions: int = Field(4, ge=1)
    """Dimensions of a head there."""
    scaled: Lengths = [64, 128, 256, 512, 2048, 8192, 16384]
    """Tokens at which work is counted and times are taken, entries up to 1."""
    longest_exact: int = Field(512, ge=2)
    """Tokens up to which this is done for exact attention, whose work is cubic."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds."""

    @model_validator(mode="after")
    def _possible(self) -> KroneckerAttention:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width is {self.width}; it must be even and a multiple of the {self.heads} heads")
        # Work and times are measured at degree 4.
        rank = math.comb(self.dimensions + 4, 4)
        if rank > 50_000:
            raise ValueError(f"dimensions is {self.dimensions}, rank {rank} at degree 4, more than 50000; lower it")
        return self
