"""Settings of the gallery of explanations."""

from __future__ import annotations

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import System


class Gallery(System):
    """Maps of all methods of attribution for the same test images, to be looked at."""

    pictures = ("explanations", "regions")
    model: str = "small_cnn"
    """Train or compress variant that is explained."""
    layer: str = Field("relu2", min_length=1)
    """Submodule that puts out maps, for the methods that look at one."""
    images: int = Field(6, ge=1, le=12)
    """Test images that are shown."""
    wrong: int = Field(1, ge=0)
    """Of them those that the model gets wrong, if there are as many."""
    segments: int = Field(45, ge=2)
    """Superpixels of an image, about."""
    samples: int = Field(1000, ge=50)
    """Perturbed copies of each image, for each method that draws them."""

    @model_validator(mode="after")
    def _some_right(self) -> Gallery:
        if self.wrong >= self.images:
            raise ValueError(f"wrong is {self.wrong} of {self.images} images; show one at least that is right")
        return self
