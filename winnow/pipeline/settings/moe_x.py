"""Settings of mixtures of experts that are chosen for being quiet."""

from __future__ import annotations

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Seeds, System


class MoeX(System):
    """Language models of bytes with dense layers and with experts: loss, sparsity, and what single units tell."""

    pictures = ("scores", "experts", "contexts", "encoders")
    width: int = Field(64, ge=8)
    """Width of the models, of four heads; a multiple of 8."""
    layers: int = Field(2, ge=1)
    """Blocks."""
    hidden: int = Field(256, ge=1)
    """Units of an expert."""
    experts: int = Field(8, ge=2)
    """Experts of a layer."""
    k: int = Field(2, ge=1)
    """Experts at work on a token."""
    context: int = Field(128, ge=8)
    """Bytes of a window."""
    steps: int = Field(400, ge=2)
    """Steps of training; upcycled models spend half of them dense."""
    batch_size: int = Field(16, ge=1)
    """Windows a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak, of AdamW."""
    windows: int = Field(48, ge=2)
    """Windows on which units are chosen, and as many on which they are scored."""
    precision: float = Field(0.95, gt=0, le=1)
    """Of units that take part in reconstruction."""
    dictionary_rows: int = Field(32768, ge=1)
    """Bytes whose activations a dictionary of the dense model is fitted on."""
    dictionary_steps: int = Field(200, ge=1)
    """Steps of fitting it."""
    dictionary_batch: int = Field(1024, ge=1)
    """Rows a step."""
    mapped: int = Field(48, ge=2)
    """Units of each expert that are laid out in a plane."""
    cached: int = Field(4, ge=1)
    """Experts, of all layers, that the cache of the trace holds."""
    requests: int = Field(4000, ge=1)
    """Longest trace."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds."""

    @model_validator(mode="after")
    def _possible(self) -> MoeX:
        if self.k > self.experts:
            raise ValueError(f"k is {self.k}, more than the {self.experts} experts; lower it")
        if self.width % 8:
            raise ValueError(f"width is {self.width}, no multiple of 8; change it")
        return self
