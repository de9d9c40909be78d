"""Settings of circuits found by contextual decomposition."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

Sizes = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2), AfterValidator(_distinct)]


class ContextualDecomposition(System):
    """Circuits of a small language model, by contextual decomposition, patching of several kinds and chance."""

    pictures = ("faithfulness", "map", "effects", "circuit")
    model: str = "lm_names"
    """Train variant whose circuits are looked for."""
    prompts: int = Field(12, ge=2)
    """Prompts on which nodes are scored, of each draw."""
    draws: int = Field(4, ge=1)
    """Draws of them."""
    random_orders: int = Field(10, ge=1)
    """Orders of nodes that are drawn by chance."""
    evaluated: int = Field(200, ge=2)
    """Other prompts, on which circuits are measured."""
    references: int = Field(300, ge=1)
    """Sentences of unrelated names over which what is taken away is averaged."""
    frames: Annotated[list[Annotated[int, Field(ge=0, le=5)]], Field(min_length=1), AfterValidator(_distinct)] = [0, 1]
    """Frames of sentences with an indirect object; spans of years are a task besides."""
    rounds: int = Field(3, ge=1)
    """Rounds of methods that look for what the best nodes read."""
    keep: int = Field(6, ge=1)
    """Best nodes of a round, which are the targets of the next."""
    sizes: Sizes = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
    """Numbers of nodes at which circuits are measured."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds."""

    @model_validator(mode="after")
    def _growing(self) -> ContextualDecomposition:
        if sorted(self.sizes) != self.sizes:
            raise ValueError(f"sizes are {self.sizes}; order them from small to large")
        return self
