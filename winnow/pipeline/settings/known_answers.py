"""Settings of measures held against known answers."""

from __future__ import annotations

from pydantic import Field

from winnow.pipeline.settings.base import Seeds, System


class KnownAnswers(System):
    """Measures of interpretability held against planted answers."""

    pictures = ("answers",)
    draws: int = Field(8, ge=2)
    """Planted networks of each kind, each of which is also the floor of another."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds."""
