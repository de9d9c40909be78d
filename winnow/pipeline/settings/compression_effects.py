"""Settings of what compression does to calibration and explanations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from winnow.pipeline.settings.base import Names, System


class CompressionEffects(System):
    """Calibration, faithfulness and local linearity of a dense model and of what is pruned from it."""

    pictures = ("effects",)
    dense: str = "mlp"
    """Train variant that the others are compared with."""
    models: Names = ["mlp", "mlp-*"]
    """Train and compress variants that are measured; * stands for any run of characters."""
    examples: int = Field(500, ge=10)
    """Examples of train and of test that explanations are measured on, at most."""
    steps: int = Field(20, ge=1)
    """Steps of integrated gradients."""
    curve_steps: int = Field(20, ge=2)
    """Pieces of the curves of deletion and insertion."""
    fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the inputs that DiffROAR keeps."""
    hidden: list[Annotated[int, Field(ge=1)]] = [64, 64]
    """Widths of the hidden layers of the network that DiffROAR trains anew."""
    epochs: int = Field(10, ge=1)
    """Its passes over the examples."""
    learning_rate: float = Field(0.05, gt=0)
    """Its rate of SGD with momentum .9."""
    batch_size: int = Field(64, ge=1)
    """Examples a step."""
    points: int = Field(50, ge=1)
    """Test examples that linear surrogates are fitted around."""
    blocks: int = Field(7, ge=1)
    """Blocks along each side of an image, which surrogates hide as one; a table's features are hidden singly."""
    samples: int = Field(200, ge=2)
    """Masks a surrogate is fitted on, and as many that it is judged on; more than there are blocks or features."""
    half: float = Field(36 / 224, gt=0, lt=0.5)
    """Half the window around a part that a prototype should hit, as a share of the image's side."""
    threshold: float = Field(0.8, gt=0, le=1)
    """Share of the images in which a consistent prototype hits its part."""
