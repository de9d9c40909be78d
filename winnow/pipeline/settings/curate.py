"""Settings of curation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Section

Fraction = Annotated[float, Field(gt=0, lt=1)]


class CurateImages(Section):
    """What is kept of a set of images, and how it is split."""

    split_salt: str = Field("winnow", min_length=1)
    """Word mixed into the hash that splits; another word makes another split."""
    fractions: list[Fraction] = Field([0.7, 0.1, 0.2], min_length=3, max_length=3)
    """Shares of train, valid and test."""
    near_duplicate_distance: float = Field(0.02, ge=0, le=1)
    """Root mean square pixel distance, of 1, up to which two images count as the same; 0 keeps all but exact copies."""
    limit: int | None = Field(None, ge=1)
    """Keep only the first so many images of each split by hash; null keeps all."""

    @model_validator(mode="after")
    def _whole(self) -> CurateImages:
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions add up to {sum(self.fractions):g}; they must add up to 1")
        return self
