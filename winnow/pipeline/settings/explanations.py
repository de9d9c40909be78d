"""Settings of what explanations are measured by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import Names, System


class LocalApproximation(System):
    """Eight explanations as one local fit: agreement, recovery, losses and perturbation tests."""

    pictures = ("agreement", "losses", "limits", "perturbation")
    models: Names = ["mlp"]
    """Train or compress variants that are explained."""
    points: int = Field(60, ge=2)
    """Test rows that are explained."""
    samples: int = Field(1000, ge=50)
    """Draws of noise around each of them."""
    noise: float = Field(0.1, gt=0)
    """Standard deviation of the noise that perturbation tests add, in standard deviations of a feature."""
    repeats: int = Field(100, ge=1)
    """Draws of that noise."""


class LimeImages(System):
    """LIME on images whose concepts are known: where it points, what it covers, how stable it is."""

    pictures = ("localisation", "coverage", "overlays")
    model: str = "small_cnn"
    """Train or compress variant that is explained."""
    concepts: Names = ["object", "shadow"]
    """Annotated concepts that explanations should point at; the second is a shadow."""
    segmenters: list[Literal["slic", "quickshift", "grid", "random"]] = Field(
        ["slic", "quickshift", "grid", "random"], min_length=1
    )
    """Kinds of regions; grid and random know nothing of the image."""
    segments: int = Field(45, ge=2)
    """Regions of an image, about."""
    images: int = Field(100, ge=2)
    """Test images that are explained: right ones that show something, as equally many of each class as there are."""
    samples: int = Field(300, ge=50)
    """Masks of each image."""
    top: int = Field(5, ge=1)
    """Regions of highest weight that are judged."""
    ratio: float = Field(3.0, gt=0)
    """Times random precision that a signed-rank test compares precision with."""
    shadowed: list[str] = ["mine", "wreck"]
    """Classes that the weight on shadows is measured for singly."""
    stable: int = Field(10, ge=0)
    """Images whose explanations are drawn again."""
    words: int = Field(20, ge=2)
    """Clusters of regions that the submodular pick counts over."""
    budget: int = Field(5, ge=1)
    """Images that it picks."""


class PlantedMark(System):
    """A corner mark that tells one class in training, and whether LIME shows it on marked test images."""

    pictures = ("marked",)
    marked: str = "mine"
    """Class of which every training image is marked."""
    images: int = Field(50, ge=2)
    """Test images that are marked and explained."""
    segmenters: list[Literal["slic", "quickshift", "grid"]] = Field(["slic", "quickshift", "grid"], min_length=1)
    """Kinds of regions."""
    segments: int = Field(45, ge=2)
    """Regions of an image, about."""
    samples: int = Field(300, ge=50)
    """Masks of each image."""
    top: int = Field(5, ge=1)
    """Regions of highest weight that are to show the mark."""
    epochs: int = Field(8, ge=1)
    """Passes over the training images."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    batch_size: int = Field(64, ge=1)
    """Images a step."""
