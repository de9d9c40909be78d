"""Settings of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import Section, Seeds

ImageModel = Literal["mlp", "small_cnn", "residual", "depthwise_cnn", "fastgrnn"]


class Train(Section):
    """One model trained with AdamW: linear warm-up, then a cosine to zero (Loshchilov and Hutter, ICLR 2019)."""

    model: ImageModel = "mlp"
    """Name in the model registry."""
    arguments: dict[str, int | float | bool | str | list[int]] = {}
    """Constructor arguments of the model, over its defaults."""
    epochs: int = Field(10, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(128, ge=1)
    """Images a step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each label spread over all classes."""
    seeds: Seeds | None = None
    """Seeds of this variant; null takes the workload's."""
