"""Settings of what follows the corpus in the OpenCoder recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Section, Seeds, Share, System


class Shares(Section):
    """Shares of the data that the learning rate decays on; the original distribution has the rest."""

    algorithms: Share = 0.1244
    """Functions of the corpus that stand by themselves and are of algorithms."""
    snippets: Share = 0.0271
    """Exercises with tests that they passed."""
    textbooks: Share = 0.0091
    """Functions with every statement explained."""


class OpencoderTraining(System):
    """Small models annealed on mixtures of a recipe for code models, and tuned in stages."""

    pictures = ("annealing", "tuning", "verification")
    shares: Shares = Shares()
    """Of each ingredient in the mixture."""
    exercises: int = Field(1200, ge=10)
    """Exercises that are made to learn from, faulty ones among them."""
    faults: float = Field(0.3, ge=0, le=1)
    """Share of them with a planted fault."""
    unseen: float = Field(0.2, gt=0, lt=1)
    """Share of compositions of steps that nothing learns from, and that judge."""
    judged: int = Field(200, ge=2)
    """Exercises, functions and windows of held-out packages that judge."""
    longest: int = Field(120, ge=1)
    """Tokens that a model writes for an exercise at most."""
    width: int = Field(64, ge=2)
    """Of the transformer."""
    layers: int = Field(2, ge=1)
    """Of the transformer."""
    heads: int = Field(4, ge=1)
    """Of the transformer."""
    context: int = Field(256, ge=16)
    """Tokens of a window."""
    batch_size: int = Field(16, ge=1)
    """Windows of a step."""
    stable_steps: int = Field(300, ge=1)
    """Steps of warm-up and of the stable phase."""
    decay_steps: int = Field(60, ge=1)
    """Steps of the decay, as many for each mixture."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of the stable phase."""
    floor: float = Field(1 / 30, gt=0, le=1)
    """Of the learning rate, at the end of the decay, as a share."""
    broad_windows: int = Field(320, ge=1)
    """Windows of the first stage of tuning, broad questions, one pass."""
    task_windows: int = Field(960, ge=3)
    """Windows of the second stage, tasks of code, three passes."""
    tuning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of each stage of tuning."""
    seeds: Seeds | None = [0, 1, 2]
    """Starts, exercises, and orders."""

    @model_validator(mode="after")
    def _room_for_the_rest(self) -> OpencoderTraining:
        total = self.shares.algorithms + self.shares.snippets + self.shares.textbooks
        if not 0 < total < 1:
            raise ValueError(f"shares add up to {total:g}; they must add up to more than 0 and less than 1")
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}, no multiple of twice the {self.heads} heads; change one of them")
        return self
