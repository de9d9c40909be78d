"""Settings of prototype networks and of the scores of their prototypes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Names, System

Halves = Annotated[list[Annotated[float, Field(gt=0, lt=0.5)]], Field(min_length=1)]


class Protopnet(System):
    """A network that classifies by how much patches look like learned prototypes of parts."""

    pictures = ("prototypes", "evidence", "losses")
    method: Literal["protopnet"]
    """How it is trained."""
    weights: str | None = "efficientnet_lite0"
    """Source of the trunk's published weights; null starts from random ones."""
    per_class: int = Field(10, ge=1)
    """Prototypes of each class (M)."""
    channels: int = Field(64, ge=1)
    """Size of a prototype (D)."""
    similarity: Literal["l2log", "projection"] = "projection"
    """log((d + 1) / (d + 1e-4)) of the squared distance, or the product with the unit prototype."""
    head: Literal["linear", "aggregate"] = "aggregate"
    """Weights of all prototypes fitted last, or score aggregation over the own class's."""
    add_on: Literal["single", "bottleneck"] = "single"
    """Layers between trunk and prototypes: one convolution, or pairs of them, each with half the channels."""
    alignment: float = Field(0.5, ge=0)
    """Weight of shallow-deep feature alignment after the warm-up; 0 leaves it out."""
    threshold: float = Field(0.1, ge=0)
    """Differences of self-similarity that alignment takes for none."""
    cluster: float = Field(0.8, ge=0)
    """Weight of the distance to the nearest own prototype."""
    separation: float = Field(0.08, ge=0)
    """Weight of the distance to the nearest prototype of another class, which is to be large."""
    orthogonality: float = Field(1e-4, ge=0)
    """Weight of what a class's prototypes lack of an orthonormal basis."""
    push: bool = False
    """Replace each prototype by its nearest training patch after training."""
    prune: bool = False
    """Switch off prototypes whose 6 nearest training images hold fewer than 3 of their class."""
    epochs: int = Field(12, ge=1)
    """Passes over the training split."""
    warm_epochs: int = Field(5, ge=0)
    """Of these, passes with the trunk held."""
    decay_epochs: int = Field(3, ge=1)
    """Passes after the warm-up at which learning rates fall to a fifth, again and again."""
    batch_size: int = Field(80, ge=1)
    """Images a step."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Protopnet:
        if self.warm_epochs >= self.epochs:
            raise ValueError(f"warm_epochs is {self.warm_epochs}; it must be below epochs, {self.epochs}")
        return self


class PrototypeScores(System):
    """Consistency and stability of the prototypes of several networks, beside nulls."""

    pictures = ("windows", "scores", "accuracy", "prototypes", "strips")
    models: Names
    """Train variants whose prototypes are judged; * stands for any run of characters. The first lends its trunk."""
    model: str = "depthwise_cnn"
    """Train or compress variant without prototypes, whose Grad-CAM is judged beside them."""
    layer: str = Field("blocks.2", min_length=1)
    """Hook point of that model, of maps, for Grad-CAM."""
    epochs: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)] = [12, 84, 48]
    """Passes of the other heads: warm-up, whole, and head alone."""
    half: float = Field(36 / 224, gt=0, lt=0.5)
    """Half the window's side as a share of the image's."""
    narrow: float = Field(0.07, gt=0, lt=0.5)
    """Half a narrower window, which is not at its ceiling where objects fill the image."""
    threshold: float = Field(0.8, gt=0, le=1)
    """Share of the images in which a consistent prototype hits its part (mu)."""
    halves: Halves = [0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2]
    """Half windows of the curve, as shares of the image's side."""
