"""Settings of workloads that are drawn instead of read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import Section


class RenderParts(Section):
    """Animals made of named parts, of which everything is known."""

    scene: Literal["parts"]
    """What is drawn."""
    side: int = Field(128, ge=16, le=512)
    """Height and width of the images."""
    scenes: int = Field(640, ge=16)
    """Images drawn; a smaller number draws the first of them."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Another seed draws other scenes."""
    planted: Literal["hue", "texture", "shape", "contrast", "absence", "confounded"] | None = None
    """The one factor that tells the classes apart; null draws the eight kinds."""
    part: Literal["tail", "body", "wing", "crest", "head", "beak"] = "wing"
    """The part that has the planted factor."""
