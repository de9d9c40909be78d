"""Settings of explanations whose baselines a bandit chooses for a metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import System, _distinct

MetricName = Literal["DEL", "INS", "POS", "NEG", "ADP", "PIC", "AIC", "SIC"]


class Bee(System):
    """BEE beside each family of baselines, a uniform mixture, and explainers without a choice."""

    pictures = ("draws", "arms", "crossed")
    model: str = "small_cnn"
    """Train variant that is explained."""
    layer: str = Field("relu2", min_length=1)
    """Layer of maps at which paths are integrated."""
    metrics: Annotated[list[MetricName], Field(min_length=1), AfterValidator(_distinct)] = [
        "DEL",
        "INS",
        "POS",
        "NEG",
        "ADP",
        "PIC",
        "AIC",
        "SIC",
    ]
    """Metrics of saliency, with a bandit for each."""
    train_images: int = Field(5000, ge=1)
    """Images of train that the bandits are pre-trained on, one draw each."""
    test_images: int = Field(1000, ge=1)
    """Images of test that are explained."""
    draws: int = Field(100, ge=1)
    """Draws of a baseline for each image (T)."""
    steps: int = Field(10, ge=1)
    """Points of a path (n)."""
    fill: Literal["black", "blur"] = "black"
    """What takes the place of removed pixels."""
