"""Settings of the reasons of prototypes where the right reason is known."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import System


class PlantedReasons(System):
    """Reasons of prototypes on sets in which one factor tells the class, where one misleads, and of copies."""

    pictures = ("planted",)
    model: str = "prototypes_base"
    """Train variant with prototypes, some of which are copied over others."""
    part: Literal["tail", "body", "wing", "crest", "head", "beak"] = "body"
    """The part whose factor tells the class."""
    side: int = Field(56, ge=56, le=224)
    """Height and width of the planted images; the warp moves nothing below 56 pixels."""
    scenes: int = Field(1800, ge=16)
    """Images that the network of a planted set is trained on."""
    judged: int = Field(200, ge=8)
    """Training images over which importances are taken, and held-out ones for the accuracy."""
    epochs: int = Field(14, ge=1)
    """Passes of such a network over its images."""
    least_accuracy: float = Field(0.8, ge=0, le=1)
    """Held-out accuracy below which the reasons of a set's network are not judged."""
    half: float = Field(36 / 224, gt=0, lt=0.5)
    """How far from the part a peak may lie, as a share of the side."""
    noise: float = Field(0.05, gt=0, lt=1)
    """Length of the noise on a copied prototype, as a share of the prototype's."""
