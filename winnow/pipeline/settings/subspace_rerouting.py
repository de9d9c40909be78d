"""Settings of attacks on a small model that declines, and of its defences."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Names, Seeds, System, _distinct

Lengths = Annotated[list[Annotated[int, Field(ge=1, le=16)]], Field(min_length=1), AfterValidator(_distinct)]


class SubspaceRerouting(System):
    """Suffixes that reroute the activations of a model trained to decline a harmless subject, and defences."""

    pictures = ("work", "cosines", "plane", "detectors")
    marked: Names = ["flask", "httpx", "requests", "werkzeug"]
    """Packages whose documentation is declined."""
    words: int = Field(2000, ge=100)
    """Words that are tokens, at most."""
    width: int = Field(64, ge=8)
    """Width of the model."""
    layers: int = Field(3, ge=2)
    """Its blocks."""
    heads: int = Field(4, ge=1)
    """Its heads."""
    steps: int = Field(600, ge=1)
    """Steps of its training."""
    batch_size: int = Field(64, ge=8, multiple_of=8)
    """Questions in a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of its training."""
    gated: bool = True
    """Whether it must refuse .9 of marked and accept .95 of other training questions."""
    slots: Lengths = [2, 4, 8]
    """Tokens of a suffix."""
    defended: int = Field(4, ge=1)
    """Length of suffixes that defences are measured on; one of slots."""
    prompts: int = Field(30, ge=5)
    """Test questions that are attacked, of those refused."""
    few: int = Field(10, ge=5)
    """The same for other lengths, for attention, and after defences."""
    search_width: int = Field(256, ge=1)
    """Candidates of an iteration."""
    topk: int = Field(64, ge=1)
    """Tokens that a slot is exchanged for."""
    buffer: int = Field(10, ge=1)
    """Best candidates that are kept."""
    coefficient: float = Field(1.8, gt=0)
    """How slowly the number of exchanged slots falls with the loss."""
    patience: int = Field(10, ge=1)
    """Iterations without progress before another candidate is gone on from."""
    iterations: int = Field(60, ge=1)
    """Iterations at most."""
    stop_loss: float = Field(0.05, gt=0)
    """Loss below which a search ends."""
    shift: float = Field(0.5, gt=0, le=1)
    """Steering aims at a cosine of minus this with the direction of refusal."""
    rounds: int = Field(2, ge=1)
    """Rounds of attacks and training on them."""
    tuning_steps: int = Field(60, ge=1)
    """Steps of a round."""
    tuning_rate: float = Field(1e-3, gt=0)
    """Learning rate of defences."""
    draws: int = Field(4, ge=1)
    """Drawn suffixes of which the worst counts, in the penalty."""
    penalty: float = Field(1.0, gt=0)
    """Its weight."""
    reverse_runs: int = Field(20, ge=1)
    """Searches from nothing for what is refused."""
    reverse_slots: int = Field(6, ge=1)
    """Words of each."""
    keep_suffixes: bool = False
    """Whether the suffixes found are written out."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds of models and searches."""

    @model_validator(mode="after")
    def _whole(self) -> SubspaceRerouting:
        if self.defended not in self.slots:
            raise ValueError(f"defended is {self.defended}, slots are {self.slots}; defend one of these lengths")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of the {self.heads} heads")
        return self
