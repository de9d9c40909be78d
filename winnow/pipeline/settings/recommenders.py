"""Settings of recommenders side by side."""

from __future__ import annotations

from pydantic import Field

from winnow.pipeline.settings.base import Names, System


class Recommenders(System):
    """Plain and trained recommenders on the same questions, over all items."""

    pictures = ("arms", "curves", "strata", "nearest")
    models: Names = ["sasrec"]
    """Train or compress variants, beside popularity, a Markov chain, item neighbours, factorisation and EASE."""
    factor_epochs: int = Field(40, ge=1)
    """Epochs of the factorisation, of which the best on valid counts."""
