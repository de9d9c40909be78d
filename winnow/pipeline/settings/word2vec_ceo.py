"""Settings of the search for settings of word2vec."""

from __future__ import annotations

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Seeds, System


class Word2VecCeo(System):
    """word2vec's settings found by the cross-entropy method, beside rivals with as many trials."""

    pictures = ("anytime", "law", "trials")
    tokens: int = Field(20_000, ge=100)
    """Identifiers, or events, of the training split that are learned from."""
    vocabulary: int = Field(1000, ge=20)
    """Of these, the most frequent."""
    questions: int = Field(1000, ge=10)
    """Lines, or users, of each split that are asked about."""
    rounds: int = Field(5, ge=1)
    """Rounds of the cross-entropy method; rivals have as many trials in all."""
    trials: int = Field(12, ge=2)
    """Trials of a round."""
    rho: float = Field(0.25, gt=0, le=1)
    """Share of a round that is its elite."""
    alpha: float = Field(0.7, gt=0, le=1)
    """Weight of the elite's law against the one before."""
    fresh: int = Field(3, ge=1)
    """Seeds with which what was found is trained again and judged."""
    seeds: Seeds | None = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """Seeds of the searches."""

    @model_validator(mode="after")
    def _possible(self) -> Word2VecCeo:
        if self.rho * self.trials <= 1:
            raise ValueError(f"rho is {self.rho} of {self.trials} trials, an elite of one; raise rho or trials")
        return self
