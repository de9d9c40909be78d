"""Settings of two comparisons of pruning methods: by relevance from few samples, and on two levels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import System, _distinct
from winnow.pipeline.settings.compress import Group

Criterion = Literal["relevance", "taylor", "gradient", "weight", "random"]
Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct)]
Kept = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1), AfterValidator(_distinct)]


class RelevancePruning(System):
    """Units pruned step by step for a few of the classes, from a few samples of each."""

    pictures = ("curves", "kept", "maps")
    model: str = "plain_cnn"
    """Train variant that is pruned."""
    criteria: Annotated[list[Criterion], Field(min_length=1), AfterValidator(_distinct)] = [
        "relevance",
        "taylor",
        "gradient",
        "weight",
        "random",
    ]
    """What ranks the units."""
    classes: int = Field(3, ge=2)
    """Classes of a subset that the model is pruned for."""
    subsets: int = Field(10, ge=1)
    """Random subsets of each model."""
    samples: Counts = [1, 10]
    """Reference samples of each class."""
    step: float = Field(0.05, gt=0, lt=1)
    """Share of all units that goes in a step."""
    target: float = Field(0.8, gt=0, lt=1)
    """Share of all units that goes in the end."""
    judged_at: float = Field(0.6, gt=0, lt=1)
    """Share at which accuracy is compared with the dense model's, and maps and slim models are made."""
    finetuned_step: float = Field(0.1, gt=0, lt=1)
    """Share of all units that goes in a step where training follows each."""
    finetune_epochs: int = Field(1, ge=0)
    """Passes over the training split after each step, on all classes; 0 leaves this comparison out."""
    learning_rate: float = Field(0.01, gt=0)
    """Peak learning rate of that training."""


class RelevanceToy(System):
    """Networks of points in a plane, of which units go at once."""

    pictures = ("toys",)
    criteria: Annotated[list[Criterion], Field(min_length=1), AfterValidator(_distinct)] = [
        "relevance",
        "taylor",
        "gradient",
        "weight",
        "random",
    ]
    """What ranks the units."""
    points: int = Field(1000, ge=40)
    """Points of train, and as many of test."""
    width: int = Field(1000, ge=4)
    """Neurons of each of the three hidden layers."""
    epochs: int = Field(10, ge=1)
    """Passes of training."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    share: float = Field(1 / 3, gt=0, lt=1)
    """Share of all neurons that goes."""
    samples: Counts = [1, 5, 20, 100]
    """Reference samples of each class."""
    draws: int = Field(50, ge=2)
    """Draws of the reference samples."""


class BilevelPruning(System):
    """Bi-level pruning beside its rivals, on one model, over shares kept."""

    pictures = ("accuracy", "cost", "overlap")
    model: str = "mlp"
    """Train variant that is pruned."""
    groups: Annotated[list[Group], Field(min_length=1), AfterValidator(_distinct)] = ["weight"]
    """What is dropped together, each in a comparison of its own."""
    keep: Kept = [0.05, 0.02, 0.01]
    """Shares of all weights, or of each layer's filters or channels, that stay."""
    rounds_at: list[float] = [0.01]
    """Of `keep`, those at which lottery tickets are drawn: their cost grows with sparsity."""
    epochs: int = Field(8, ge=1)
    """Passes over the training split of each level of bi-level pruning, each half of Hydra, each round of a lottery
    ticket; methods that choose once get as many, and twice as many in another arm."""
    learning_rate: float = Field(0.1, gt=0)
    """Peak learning rate of the weights, for every method."""
    mask_learning_rate: float = Field(0.1, gt=0)
    """Learning rate of mask scores."""
    ablated: list[Annotated[float, Field(ge=0)]] = [1e-4, 0.0]
    """Weights of the implicit part of the mask's gradient, beside the method's 1."""
    batch_size: int = Field(128, ge=1)
    """Images a step."""

    @model_validator(mode="after")
    def _rounds_at_shares_kept(self) -> BilevelPruning:
        for share in self.rounds_at:
            if share not in self.keep:
                raise ValueError(f"rounds_at names {share:g}, which is none of {', '.join(map(str, self.keep))}")
        return self
