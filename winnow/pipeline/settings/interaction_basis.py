"""Settings of the Interaction Basis."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

Tolerances = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1), AfterValidator(_distinct)]
Layers = Annotated[list[Annotated[int, Field(ge=2, le=256)]], Field(min_length=2)]


class InteractionBasis(System):
    """Networks that answer two questions about pairs of images, in the Interaction Basis and in others."""

    pictures = ("graph", "spectrum", "purity")
    hidden: Layers = [48, 48]
    """Widths of the hidden layers."""
    pairs: int = Field(20_000, ge=100)
    """Pairs of training images to learn from."""
    rows: int = Field(2000, ge=50)
    """Those of them that bases are told by."""
    judged: int = Field(1000, ge=50)
    """Pairs of test images that everything is measured on."""
    steps: int = Field(1500, ge=1)
    """Steps of training of the network whose bases are judged."""
    target: float = Field(0.3, gt=0)
    """Loss in nats at which two networks are compared for what is free in them: of one task, and of a coupled one."""
    most_steps: int = Field(8000, ge=1)
    """Steps after which their training ends in any case."""
    batch_size: int = Field(128, ge=1)
    """Pairs a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of AdamW, constant."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
    condition: float = Field(100.0, ge=1)
    """Condition number of the matrices that disguise the layers."""
    junk: int = Field(6, ge=0)
    """Directions beside each disguised layer that are not read."""
    allowed: float = Field(0.05, gt=0)
    """Rise of the loss in nats that ablated edges may cause."""
    tolerances: Tolerances = [0.01, 0.001, 0.0001]
    """Eigenvalues of the Hessian below them, relative to the largest, count as nil."""
    probes: int = Field(6, ge=2)
    """Random vectors of the estimate of the Hessian's spectrum."""
    lanczos_steps: int = Field(150, ge=2)
    """Steps of Lanczos for each."""
    cases: int = Field(2, ge=1)
    """Planted networks of each kind of degeneracy, and of modules."""
    modules: int = Field(3, ge=2, le=8)
    """Modules of a planted network."""
    module_width: int = Field(4, ge=2, le=16)
    """Inputs of each of them."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds."""

    @model_validator(mode="after")
    def _possible(self) -> InteractionBasis:
        if self.rows > self.pairs:
            raise ValueError(f"rows is {self.rows}, more than the {self.pairs} pairs they are taken from; lower it")
        return self
