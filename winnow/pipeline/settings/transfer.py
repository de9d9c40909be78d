"""Settings of classifiers of few and unbalanced images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import System


class Transfer(System):
    """A network from scratch and one that knows other images, under draws and balances of the training images."""

    pictures = ("arms", "confusion")
    method: Literal["transfer"]
    """How it is trained."""
    weights: str | None = "efficientnet_lite0"
    """Source of the base's published weights; null starts from random ones."""
    share: float = Field(0.8, gt=0, lt=1)
    """Share of the images of train and valid that an arm trains on; the rest is left unseen."""
    tuned: int = Field(2, ge=1, le=15)
    """Blocks at the top that are trained after the head."""
    hidden: int = Field(128, ge=1)
    """Units of the dense layer."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of them that is dropped in training."""
    head_epochs: int = Field(20, ge=1)
    """Passes that fit the head alone."""
    tuned_epochs: int = Field(5, ge=0)
    """Passes that fit head and top blocks together, at a tenth of the rate; 0 leaves the base as it is."""
    scratch_epochs: int = Field(25, ge=1)
    """Passes of the network from scratch: as many as head and top blocks take together."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    batch_size: int = Field(64, ge=1)
    """Images a step."""
