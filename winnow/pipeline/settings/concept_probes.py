"""Settings of explanations by concepts."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import System, _distinct

Strengths = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1), AfterValidator(_distinct)]
Sizes = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct)]


class ConceptProbes(System):
    """Explanations of a model by the concepts of rendered probe sets, and how far they depend on the probe set."""

    pictures = ("fidelity", "cosines", "learnability", "truncation", "weights")
    model: str = "depthwise_cnn"
    """Train or compress variant that is explained."""
    layer: str = Field("blocks.2", min_length=1)
    """Hook point, of maps, whose mean over places gives the features."""
    weights: str | None = "efficientnet_lite0"
    """Source of published weights, by whose features concepts are learned; null takes the explained model's own."""
    train: int = Field(400, ge=20)
    """Images of each probe set that explanations are fitted to."""
    valid: int = Field(100, ge=10)
    """Images of each probe set that the strength of regularisation is chosen on."""
    test: int = Field(300, ge=10)
    """Images of each probe set that fidelity and learnability are measured on."""
    shifts: Strengths = [0.0, 0.5, 1.0]
    """Strengths of the second probe set's shift; the last is the one that is described in full."""
    draws: int = Field(10, ge=1)
    """Random halves of each probe set, for the ceiling that sampling sets."""
    base_rate: float = Field(0.02, gt=0, lt=0.5)
    """A concept is used where it is present, and absent, in this share of both probe sets."""
    random_concepts: int = Field(40, ge=10)
    """Directions of shuffled concepts beside which TCAV scores are judged."""
    dissected: int = Field(100, ge=5)
    """Of the images of the first probe set's test, those on which units are set against masks of concepts."""
    sizes: Sizes = [4, 8, 16, 32]
    """Numbers of concepts that explanations are cut to."""

    @model_validator(mode="after")
    def _dissects_test(self) -> ConceptProbes:
        if self.dissected > self.test:
            raise ValueError(f"dissected is {self.dissected}; it must be at most test, {self.test}")
        return self


class ConceptStudy(System):
    """A page of tasks for people: what they see, and what they expect of the model from an explanation."""

    model: str = "depthwise_cnn"
    """The model explained; its explanations by concepts must have been made."""
    sizes: Sizes = [8, 16, 32]
    """Numbers of concepts shown, beside all of them."""
    shown: int = Field(12, ge=1)
    """Pictures that each person sees."""
    people: int = Field(125, ge=1)
    """People planned for."""
