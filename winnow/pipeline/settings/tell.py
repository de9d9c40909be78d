"""Settings of interpretable neural clustering."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from winnow.pipeline.settings.base import System


class TellSettings(System):
    """An autoencoder clustered by a layer that is k-means, beside other clusterers with the same starts and epochs."""

    pictures = ("clusterers", "centres", "training", "confusion")
    method: Literal["tell"]
    """How it is trained."""
    clusters: int | None = Field(None, ge=2)
    """Clusters (k); null takes as many as there are classes, which nothing else of the labels enters."""
    hidden: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [500, 500, 2000]
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent: int = Field(10, ge=2)
    """Features that are clustered."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout before each layer of the encoder."""
    warm_epochs: int = Field(30, ge=0)
    """Epochs of reconstruction alone, common to all arms."""
    epochs: int = Field(40, ge=1)
    """Epochs of each arm after that."""
    batch_size: int = Field(256, ge=1)
    """Inputs a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    weight: float = Field(0.01, ge=0)
    """Weight of the mean squared distance to the nearest centre beside the reconstruction (lambda)."""
    weights: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = [0.0, 0.003, 0.03, 0.1]
    """Other weights that are tried, and reported side by side."""
    passes: int = Field(20, ge=1)
    """Passes of the layer over the inputs as they are."""
    stream_batch: int = Field(100, ge=1)
    """Inputs a step where they are seen only once."""
