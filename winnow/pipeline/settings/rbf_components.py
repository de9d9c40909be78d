"""Settings of classification by components, and of its certificates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import System

Margins = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=1)]
Factors = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class RbfComponentsTable(System):
    """Components present and absent, RBF classifiers, the reasoning of 2019, and GLVQ, in the space of the inputs."""

    method: Literal["rbf_components"]
    """How it is trained."""
    components: int = Field(50, ge=2)
    """Components (or prototypes) in all, as many for each class."""
    epochs: int = Field(20, ge=1)
    """Passes of each fit; models of the robust loss, and those they are compared with, get as many again."""
    batch_size: int = Field(64, ge=1)
    """Inputs a step."""
    learning_rate: float = Field(0.02, gt=0)
    """Learning rate of AdamW; it falls as a cosine."""
    margins: Margins = [0.03, 0.1, 0.3]
    """Margins of the loss of which the best on the valid split counts."""
    rate_factors: Factors = [0.25, 1.0, 4.0]
    """Factors of the learning rate that GLVQ, whose loss has no margin, is tuned over instead."""
    robust_margin: float = Field(0.1, ge=0, lt=1)
    """Margin of the robust loss, and of the margin loss beside it."""
    radius: float = Field(0.75, gt=0)
    """Radius that the robust loss looks ahead; an input runs from 0 to 1."""

    @model_validator(mode="after")
    def _as_many(self) -> RbfComponentsTable:
        if len(self.margins) != len(self.rate_factors):
            raise ValueError("margins and rate_factors differ in length; every arm is tuned over as many settings")
        return self


class RbfComponents(RbfComponentsTable):
    """The same on images, and on learnt detectors."""

    deep_components: int = Field(32, ge=2)
    """Components of the learnt detectors."""
    deep_epochs: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=3, max_length=3)] = [12, 84, 48]
    """Epochs of the warm-up, of the whole network, and of its head."""
    deep_learning_rate: float = Field(3.75e-4, gt=0)
    """Learning rate of the network; the head has 5e-3."""
    planted_images: int = Field(1000, ge=8)
    """Images of the planted set in which only an absence tells the class."""
    planted_epochs: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=3, max_length=3)] = [5, 30, 10]
    """Epochs of the same three parts on the planted set."""


class CertifiedRadius(System):
    """How far inputs may be moved before a model by components can change its mind."""

    pictures = ("certified", "components", "evidence")
    model: str = "rbf_components"
    """Train variant that is certified."""
    radii: Factors = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
    """Radii in l2 at which certified accuracy is reported; an input runs from 0 to 1."""
    attack_steps: int = Field(100, ge=1)
    """Steps of the attack inside each certified ball."""
    attack_restarts: int = Field(5, ge=1)
    """Starts of the attack."""
    attacked: int = Field(1000, ge=1)
    """Test images that are attacked."""
