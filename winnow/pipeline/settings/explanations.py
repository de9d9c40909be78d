"""Settings of what explanations are measured by."""

from __future__ import annotations

from pydantic import Field

from winnow.pipeline.settings.base import System


class LocalApproximation(System):
    """Eight explanations as one local fit: agreement, recovery, losses and perturbation tests."""

    pictures = ("agreement", "losses", "limits", "perturbation")
    model: str = "mlp"
    """Train or compress variant that is explained."""
    points: int = Field(60, ge=2)
    """Test rows that are explained."""
    samples: int = Field(1000, ge=50)
    """Draws of noise around each of them."""
    noise: float = Field(0.1, gt=0)
    """Standard deviation of the noise that perturbation tests add, in standard deviations of a feature."""
    repeats: int = Field(100, ge=1)
    """Draws of that noise."""
