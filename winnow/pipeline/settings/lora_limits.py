"""Settings of gradients of adapters in nearly linear time."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

Bounds = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]
Degrees = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]


class LoraLimits(System):
    """Fast gradients of low-rank adapters beside exact ones, and the largest entries of a language model's heads."""

    pictures = ("errors", "growth")
    model: str = "transformer"
    """Train variant whose heads are measured and fine-tuned."""
    gammas: Bounds = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
    """Largest entries of queries and keys; scores are divided by the dimensions."""
    degrees: Degrees = [1, 2, 3, 4]
    """Degrees of the polynomial."""
    length: int = Field(1024, ge=2)
    """Tokens of the drawn head."""
    dimensions: int = Field(8, ge=1)
    """Its dimensions."""
    rank: int = Field(2, ge=1)
    """Rank of its adapters."""
    adapter_rank: int = Field(4, ge=1)
    """Rank of the language model's adapters."""
    gains: Bounds = [1.0, 4.0, 16.0]
    """alpha / r of these."""
    steps: int = Field(100, ge=1)
    """Steps of fine-tuning."""
    batch_size: int = Field(8, ge=1)
    """Windows a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    seeds: Seeds | None = None
    """Seeds; null takes the workload's."""

    @model_validator(mode="after")
    def _possible(self) -> LoraLimits:
        if self.rank > self.dimensions:
            raise ValueError(f"rank is {self.rank}, more than the {self.dimensions} dimensions; lower it")
        return self
