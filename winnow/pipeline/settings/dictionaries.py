"""Settings of dictionaries."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Names, Part, Section, Seeds

Architecture = Literal["topk", "batchtopk", "relu_l1", "jumprelu", "gated"]


class SparseAutoencoder(Part):
    """A sparse autoencoder fitted on one hook point of several models."""

    architecture: Architecture = "topk"
    """How features are kept few."""
    models: Names
    """Train and compress variants to fit on; * stands for any run of characters."""
    hook: str = Field("relu2", min_length=1)
    """Hook point whose rows are explained."""
    width: int = Field(256, ge=2)
    """Features of the dictionary (m)."""
    k: int | None = Field(None, ge=1)
    """Features a row keeps for topk, keeps on average for batchtopk, is drawn towards for jumprelu."""
    penalty: float | None = Field(None, gt=0)
    """Weight of the sparsity penalty, for relu_l1 and gated."""
    steps: int = Field(600, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(1024, ge=1)
    """Rows a step."""
    learning_rate: float | None = Field(1e-3, gt=0)
    """Peak learning rate of Adam; null is 2e-4 sqrt(16384 / width), at most 3e-3."""
    seeds: Seeds | None = None
    """Seeds of this variant; null takes the workload's."""

    @model_validator(mode="after")
    def _sparsity_is_set(self) -> SparseAutoencoder:
        check_sparsity(self.architecture, self.k, self.penalty, self.width)
        return self


class Activations(Section):
    """Activations of language models, harvested once for each model, hook point and split."""

    rows: int = Field(400_000, ge=8)
    """Rows of the training split at most; sequences are drawn until the next one would exceed them."""
    held_out_rows: int = Field(50_000, ge=8)
    """Rows of the valid and of the test split at most."""


def check_sparsity(architecture: str, k: int | None, penalty: float | None, width: int) -> None:
    """Raise ValueError unless exactly the setting that the architecture reads is given, within the width."""
    by_count = architecture in ("topk", "batchtopk", "jumprelu")
    if by_count and (k is None or penalty is not None):
        raise ValueError(f"architecture {architecture} takes k and no penalty; set k alone")
    if not by_count and (penalty is None or k is not None):
        raise ValueError(f"architecture {architecture} takes penalty and no k; set penalty alone")
    if k is not None and k >= width:
        raise ValueError(f"k is {k}, not below width {width}; a dictionary that keeps all features explains nothing")
