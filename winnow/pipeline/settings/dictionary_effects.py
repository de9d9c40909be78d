"""Settings of dictionaries under compression."""

from __future__ import annotations

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Names, System


class DictionaryEffects(System):
    """How a dictionary of the dense model and those of compressed models differ: fidelity, features, circuits."""

    pictures = ("effects",)
    dense: str = "lm_names"
    """Train variant that the others are compared with."""
    models: Names = ["lm_names", "lm_names-*"]
    """Train and compress variants, the dense one first."""
    hook: str = Field("blocks.1.hook_resid_post", min_length=1)
    """Hook point whose rows are explained."""
    width: int = Field(512, ge=2)
    """Features of each dictionary (m)."""
    k: int = Field(16, ge=1)
    """Features a row keeps."""
    steps: int = Field(300, ge=1)
    """Optimiser steps of each fit."""
    batch_size: int = Field(2048, ge=1)
    """Rows a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of Adam."""
    sequences: int = Field(600, ge=2)
    """Sequences of the test split that are judged on, the first ones."""
    strongest: int = Field(20, ge=1)
    """Features that the loss hangs on most, which are looked for among those of the other."""
    chance_quantile: float = Field(0.99, gt=0, lt=1)
    """Quantile of chance matches that a surviving feature must exceed."""

    @model_validator(mode="after")
    def _possible(self) -> DictionaryEffects:
        if self.models[0] != self.dense or len(self.models) < 2:
            raise ValueError(
                f"models begins with {self.models[0]!r}; name {self.dense!r}, then what is compared with it"
            )
        if self.k >= self.width or self.strongest > self.width:
            raise ValueError(f"k {self.k} and strongest {self.strongest} must fit into width {self.width}; raise it")
        return self
