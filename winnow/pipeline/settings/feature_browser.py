"""Settings of the browser of features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import System


class FeatureBrowser(System):
    """A page to leaf through the features of a dictionary: examples, neighbours and effects."""

    dictionary: str = "topk"
    """Name of a dictionaries section."""
    model: str = "mlp"
    """Train or compress variant, of those that it is fitted on."""
    split: Literal["valid", "test"] = "valid"
    """Examples that are shown."""
    limit: int = Field(2000, ge=1)
    """Most examples that are looked at."""
    top: int = Field(8, ge=1)
    """Examples of each feature."""
