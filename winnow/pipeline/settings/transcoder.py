"""Settings of transcoders and of circuits found by them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import System, _distinct

Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]
Penalties = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]
Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct)]


class Transcoder(System):
    """Transcoders of feed-forward layers beside autoencoders of what the layers add."""

    pictures = ("pareto", "density")
    model: str = "lm_names"
    """Train or compress variant whose layers are imitated."""
    layers: Layers = [0, 1, 2]
    """Blocks whose feed-forward layers are imitated."""
    width: int = Field(512, ge=2)
    """Latents of each dictionary (m); the paper has 32 times the model's width."""
    dictionary_architecture: Literal["topk", "relu_l1"] = "topk"
    """topk keeps the k largest latents of a row; relu_l1 is the paper's, with a penalty on all of them."""
    k: Counts = [2, 4, 8, 16]
    """Latents that a row keeps, of topk."""
    kept_k: int = Field(8, ge=1)
    """Which of these transcoders are kept, for circuits."""
    penalties: Penalties = [0.3, 1.0, 3.0, 10.0]
    """Weights of the penalty, of relu_l1."""
    kept_penalty: float = Field(1.0, gt=0)
    """Which of these transcoders are kept."""
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
        if self.kept_penalty not in self.penalties:
            raise ValueError(f"kept_penalty is {self.kept_penalty:g}, none of penalties {self.penalties}; name one")
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
    firing: int = Field(5, ge=1)
    """Places at which each of these latents is strongest that are told, after weights have said what it reads."""
    area_to: int = Field(16, ge=1)
    """Latents and neurons up to which curves are compared."""
    sizes: Counts = [24, 32, 64, 128]
    """Further numbers of latents and neurons at which curves are measured."""
    depth: int = Field(3, ge=1)
    """Steps of the longest paths."""
    branches: int = Field(10, ge=1)
    """Paths of each length that are kept."""
    cap: bool = False
    """Whether a step of a path gives at most what the weakest latent on it does, as in the paper's zero ablation."""
    coverage: float = Field(0.9, gt=0, le=1)
    """Share of all contributions that the edges of the drawn circuit have."""
    documents: int = Field(500, ge=1)
    """Documents of the test split over which contributions are averaged."""
