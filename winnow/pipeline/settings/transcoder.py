"""Settings of transcoders and of circuits found by them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import System, _distinct

Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]
Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct)]


class Transcoder(System):
    """Transcoders of feed-forward layers beside autoencoders of what the layers add."""

    pictures = ("pareto",)
    model: str = "lm_names"
    """Train or compress variant whose layers are imitated."""
    layers: Layers = [0, 1, 2]
    """Blocks whose feed-forward layers are imitated."""
    width: int = Field(512, ge=2)
    """Latents of each dictionary (m); the paper has 32 times the model's width."""
    k: Counts = [2, 4, 8, 16]
    """Latents that a row keeps."""
    kept_k: int = Field(8, ge=1)
    """Which of these transcoders are kept, for circuits."""
    steps: int = Field(500, ge=1)
    """Optimiser steps of each fit; the paper has 14,600."""
    batch_size: int = Field(1024, ge=1)
    """Rows a step; the paper has 4,096."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of Adam, for both kinds; the paper has 4e-4."""
    sequences: int = Field(600, ge=2)
    """Sequences of the test split that are judged on, the first ones."""
    least_cost: float = Field(0.2, ge=0)
    """Nats that the ablation of a layer costs at least, or shares of it are noise."""

    @model_validator(mode="after")
    def _possible(self) -> Transcoder:
        if self.kept_k not in self.k:
            raise ValueError(f"kept_k is {self.kept_k}, which is none of k {self.k}; name one of them")
        if max(self.k) >= self.width:
            raise ValueError(f"k is {max(self.k)}, not below width {self.width}; lower k or raise width")
        return self


class TranscoderCircuits(System):
    """Circuits of transcoders in a model of generated sequences: how it tells later years."""

    pictures = ("circuit", "years", "curves")
    prompts: int = Field(500, ge=20)
    """Prompts on which latents are ranked, and others on which they are measured."""
    patched: int = Field(100, ge=2)
    """Prompts on which the head that moves the year is looked for by patching."""
    references: int = Field(300, ge=1)
    """Prompts over which a head that is patched is averaged."""
    latents: int = Field(10, ge=1)
    """Latents that are looked at, those that do most for later years."""
    area_to: int = Field(16, ge=1)
    """Latents and neurons up to which curves are compared."""
    sizes: Counts = [24, 32, 64, 128]
    """Further numbers of latents and neurons at which curves are measured."""
    depth: int = Field(3, ge=1)
    """Steps of the longest paths."""
    branches: int = Field(10, ge=1)
    """Paths of each length that are kept."""
    coverage: float = Field(0.9, gt=0, le=1)
    """Share of all contributions that the edges of the drawn circuit have."""
    documents: int = Field(500, ge=1)
    """Documents of the test split over which contributions are averaged."""
