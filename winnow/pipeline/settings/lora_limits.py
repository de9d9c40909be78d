"""Settings of gradients of adapters in nearly linear time."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

Bounds = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]
Degrees = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]

Lengths = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1), AfterValidator(_distinct)]


class LoraLimits(System):
    """Fast gradients of low-rank adapters beside exact ones, and the largest entries of a language model's heads."""

    pictures = ("errors", "growth", "heads", "phases", "work", "speed")
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
    lengths: Lengths = [512, 1024, 2048, 4096, 8192, 16384, 32768]
    """Tokens of drawn heads whose gradients are timed, and their work counted."""
    longest_exact: int = Field(8192, ge=2)
    """Tokens up to which exact gradients are run; their work is counted beyond, too."""
    map_lengths: Lengths = [128, 512, 2048]
    """Tokens of the map of ranks; degrees are tried as long as their rank is lower."""
    map_gammas: Bounds = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0]
    """Largest entries there; scores have no scale."""
    map_dimensions: int = Field(4, ge=1)
    """Dimensions of a head there."""
    most_gain: float = Field(1.0, gt=0)
    """Magnitude that gains of norms are brought down to, where entries of the language model are bounded."""
    cap: float = Field(10.0, gt=0)
    """What its scores are capped at there."""
    fast_degree: int = Field(2, ge=0, multiple_of=2)
    """Degree of the polynomial whose gradients fine-tune heads with small entries."""
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
        if self.rank > min(self.dimensions, self.map_dimensions):
            most = min(self.dimensions, self.map_dimensions)
            raise ValueError(f"rank is {self.rank}, more than the {most} dimensions; lower it")
        return self
