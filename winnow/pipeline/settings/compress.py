"""Settings of pruning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from winnow.pipeline.settings.base import Names, Part, Section, Seeds, Sparsities

PruningMethod = Literal[
    "global_magnitude",
    "uniform",
    "erk",
    "lamp",
    "snip",
    "grasp",
    "synflow",
    "relevance",
    "random",
    "bilevel",
    "hydra",
    "imp",
]
Group = Literal["weight", "filter", "channel"]


class FineTune(Section):
    """The budget after pruning, the same for every criterion; SGD as Gupta et al. (2022) set it."""

    epochs: int = Field(3, ge=0)
    """Passes over the training split after pruning; 0 keeps the pruned weights as they are."""
    learning_rate: float = Field(0.1, gt=0)
    """Peak learning rate of SGD with momentum .875, weight decay 7e-6 and label smoothing .1."""
    batch_size: int = Field(128, ge=1)
    """Images a step."""


class Prune(FineTune, Part):
    """Trained models pruned by one method over a grid of sparsities; each is a model of its own."""

    method: PruningMethod = "global_magnitude"
    """How the weights that stay are chosen."""
    group: Group = "weight"
    """What is dropped together: single weights of all layers, or the same share of each layer's filters or channels."""
    gradual_steps: int = Field(0, ge=0)
    """Equal rises of the sparsity over the first half of fine-tuning; 0 prunes at once."""
    min_keep_share: float = Field(0.0, ge=0, lt=1)
    """Minimum threshold: share of all weights that each layer keeps at least."""
    weight_bits: Literal[8, 32] = 32
    """8 rounds the weights to integers with a scale for each output channel after fine-tuning, and stores them so."""
    models: Names
    """Train variants to prune."""
    sparsities: Sparsities
    """Shares of the weights set to zero."""
    optional: bool = False
    """Left out of the default target."""
    seeds: Seeds | None = None
    """Seeds of this variant; null takes the workload's."""
