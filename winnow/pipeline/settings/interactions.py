"""Settings of events of users and items, and of models that recommend the next one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Section, Seeds
from winnow.pipeline.settings.curate import Split
from winnow.pipeline.settings.train import check_arguments


class CurateInteractions(Split):
    """What is kept of a log of events, and how it is split."""

    split: Literal["leave_one_out", "global_time"] = "leave_one_out"
    """leave_one_out takes a user's last event for test and the one before for valid; global_time cuts at two times."""
    core: int = Field(5, ge=1)
    """Events that each user and each item must have, after all that have fewer are gone; 1 keeps all."""
    repeats: Literal["drop", "keep"] = "drop"
    """drop leaves a user the first event of each item; keep leaves all but exact copies."""
    window: int = Field(50, ge=2, le=4096)
    """Last events of a user that a model reads."""
    limit: int | None = Field(None, ge=3)
    """Keep only the first so many users by hash; null keeps all."""


class SequentialRecommender(Section):
    """A model of what a user takes next, trained on what users took; of all epochs the best on valid is kept."""

    method: Literal["sequential_recommender"] = "sequential_recommender"
    """How it is trained."""
    model: Literal["sasrec", "gru4rec"] = "sasrec"
    """Name in the model registry."""
    arguments: dict[str, int | float | bool | str | list[int]] = {}
    """Constructor arguments of the model, over its defaults."""
    loss: Literal["ce", "bce", "sampled_softmax", "bpr", "gbce"] = "ce"
    """ce is over all items; the others set what was taken against items drawn at random."""
    negatives: int = Field(1, ge=1)
    """Items drawn for each place, for all losses but ce."""
    calibration: float = Field(0.75, ge=0, le=1)
    """gbce: 0 leaves the loss as bce, 1 undoes what drawing few items does to probabilities (t)."""
    epochs: int = Field(40, ge=1)
    """Epochs; one is a window of each user."""
    batch_size: int = Field(128, ge=1)
    """Users a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam, whose betas are .9 and .98."""
    optional: bool = False
    """Left out of the default target and of what measures all models; made where another section names it."""
    seeds: Seeds | None = None
    """Seeds of this variant; null takes the workload's."""

    @model_validator(mode="after")
    def _arguments_exist(self) -> SequentialRecommender:
        check_arguments(self.model, self.arguments)
        return self
