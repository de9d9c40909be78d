"""Settings of routes through large and small feed-forward layers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Seeds, System

Sharpness = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]


class Duo(System):
    """A language model with a large and a small feed-forward layer in each block, oracles and routers of its routes."""

    pictures = ("budgets", "use", "hindsight", "skips", "costs", "tokens")
    works_on = "transformer"
    model: str = "transformer"
    """Train variant that is given small twins of its layers, its first seed."""
    layers: int = Field(6, ge=2, le=8)
    """Blocks; all 2^layers routes are tried."""
    big: int = Field(256, ge=1)
    """Inner width of the large layers."""
    small: int = Field(16, ge=1)
    """Inner width of the small ones; the paper takes a sixteenth."""
    steps: int = Field(350, ge=1)
    """Steps of training with drawn routes."""
    skip: float = Field(1 / 3, gt=0, lt=1)
    """Chance that a token skips a layer, in the training of a second model that may; small and large share the rest."""
    twin_steps: int = Field(200, ge=1)
    """Steps in which the twins alone learn."""
    batch_size: int = Field(8, ge=1)
    """Windows of the whole context a step, for the model and for routers."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak learning rate of AdamW."""
    router_steps: int = Field(120, ge=1)
    """Steps of each router, the model frozen."""
    router_rate: float = Field(0.03, gt=0)
    """Learning rate of Adam for routers."""
    budget_weight: float = Field(20.0, ge=0)
    """Weight of the squared distance from the share of large layers that is asked."""
    sharpness: Sharpness = [1.0, 5.0]
    """What scores of routers are multiplied with, at the first and at the last step."""
    judged: int = Field(128, ge=4)
    """Windows of the test split."""
    skip_judged: int = Field(16, ge=2)
    """Of these, windows on which all 3^layers routes are tried."""
    shown: int = Field(3, ge=1)
    """Of these, windows whose tokens are shown."""
    length: int = Field(64, ge=4)
    """Their tokens."""
    draws: int = Field(100, ge=1)
    """Draws of routes of which the best is compared with routers."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds of the model, its routes and its routers."""

    @model_validator(mode="after")
    def _smaller(self) -> Duo:
        if self.small >= self.big:
            raise ValueError(f"small is {self.small}, not below big {self.big}; lower small or raise big")
        if max(self.skip_judged, self.shown) > self.judged:
            raise ValueError(f"skip_judged or shown is above judged {self.judged}; lower it")
        return self
