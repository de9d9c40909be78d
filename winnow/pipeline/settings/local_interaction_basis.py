"""Settings of the Local Interaction Basis and of the models it is found in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Seeds, System, _distinct

# Stands here as well as beside the method, which imports torch: params.yaml is checked before every command.
Kind = Literal["jacobian", "pca", "neuron", "random"]
Kinds = Annotated[list[Kind], Field(min_length=2), AfterValidator(_distinct)]
Drops = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]
Edges = Annotated[list[Literal["gradient", "integrated", "functional"]], Field(min_length=1), AfterValidator(_distinct)]


class ModularSums(System):
    """A transformer of one block that learns to add modulo a number."""

    method: Literal["modular_addition"]
    """How it is trained."""
    modulus: int = Field(37, ge=3, le=199)
    """What is added modulo; the authors take 113."""
    share: float = Field(0.7, gt=0, lt=1)
    """Share of the pairs that are trained on."""
    width: int = Field(64, ge=4)
    """Width of the residual stream."""
    heads: int = Field(4, ge=1)
    """Heads; the width is a multiple of them."""
    hidden: int = Field(256, ge=4)
    """Units of the feed-forward layer."""
    epochs: int = Field(2400, ge=1)
    """Steps of training, each on all pairs."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of AdamW, constant."""
    weight_decay: float = Field(1.0, ge=0)
    """Decoupled weight decay, without which the model learns its pairs by heart."""
    least_accuracy: float = Field(0.999, ge=0, le=1)
    """Accuracy on held-out pairs below which the model is refused."""


class LocalInteractionBasis(System):
    """Directions and edges that a network needs, in the Local Interaction Basis and in others."""

    pictures = ("graph", "curves", "eigenvalues")
    model: str = "mlp_narrow"
    """Train variant whose layers are described."""
    kinds: Kinds = ["jacobian", "pca", "neuron", "random"]
    """Bases: jacobian is the Local Interaction Basis."""
    rows: int = Field(2000, ge=10)
    """Training examples that bases are told by; sequences, of text."""
    judged: int = Field(500, ge=10)
    """Test examples (of sums: pairs) that directions and edges are ablated on; edges are measured on as many others."""
    positions: int = Field(32, ge=2)
    """First tokens of a sequence of text that are read."""
    sources: int = Field(0, ge=0)
    """Random directions of the output that gradients are taken of, for each example; 0 takes all."""
    edge_sources: int = Field(0, ge=0)
    """The same over positions of the output, for edges."""
    edges: Edges = ["gradient", "integrated", "functional"]
    """Formulas for the strength of edges; the first is the one that is claimed about."""
    drops: Drops = [0.001, 0.01, 0.1]
    """Losses of accuracy (of text: nats) that an ablation may cause; the first is the one that is claimed about."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds."""
