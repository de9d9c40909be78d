"""Settings of the benchmark of interpreters of functions."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct
from winnow.pipeline.settings.language import Endpoint

Budgets = Annotated[list[Annotated[int, Field(ge=8, le=4096)]], Field(min_length=1), AfterValidator(_distinct)]
Part = Annotated[float, Field(ge=0, le=1)]


class FindBenchmark(System):
    """Opaque functions with known descriptions, and how well interpreters describe them."""

    pictures = ("success", "texts", "relations", "budgets", "worst")
    numeric: int = Field(120, ge=1)
    """Numeric functions; the paper has 1,000."""
    strings: int = Field(120, ge=1)
    """Functions of texts; the paper has 1,000."""
    entities: int = Field(40, ge=1)
    """Neurons that answer to concepts; the paper has 200."""
    relations: int = Field(20, ge=1)
    """Neurons that tell relations; the paper has 75."""
    noise: Part = 0.25
    """Share of numeric functions whose answers are noisy."""
    corruption: Part = 0.3
    """Share of numeric functions that are replaced by a level in a stretch."""
    approximation: Part = 0.1
    """Share of numeric functions that a small network stands for."""
    composed: Part = 0.15
    """Share of numeric functions that are made of two."""
    budgets: Budgets = [16, 64, 256]
    """Inputs that an interpreter may ask of a function."""
    main_budget: int = Field(64, ge=8)
    """The one of them that every interpreter gets."""
    endpoint: Endpoint | None = None
    """A server's language model that interprets too; null asks none."""
    judge: Endpoint | None = None
    """A server's other language model, which judges words that no parser reads; null leaves them a guess."""
    seeds: Seeds | None = [0, 1, 2]
    """Libraries of functions."""

    @model_validator(mode="after")
    def _possible(self) -> FindBenchmark:
        if self.main_budget not in self.budgets:
            raise ValueError(f"main_budget is {self.main_budget}, which is none of budgets; name it there")
        if self.judge and self.endpoint and self.judge.model == self.endpoint.model:
            raise ValueError(f"judge is {self.judge.model}, which interprets already; name another model")
        if self.noise + self.corruption + self.approximation > 1:
            total = self.noise + self.corruption + self.approximation
            raise ValueError(
                f"noise, corruption and approximation add up to {total:g}; they exclude one another: lower one"
            )
        return self
