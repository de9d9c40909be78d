"""Settings of evolutionary search for the compression of each unit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Section, Seeds, System, _distinct

Dropped = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1), AfterValidator(_distinct)]


class Round(Section):
    """One stage of selection."""

    sequences: int = Field(ge=1)
    """Windows that judge each candidate, drawn anew."""
    keep: int = Field(ge=1)
    """Candidates that stay."""


Rounds = Annotated[list[Round], Field(min_length=1)]


class Schedule(Section):
    """What the searches of one kind spend."""

    offspring: int = Field(ge=1)
    """Children of a generation."""
    stages: Rounds
    """Stages of selection; the parent joins the last, which keeps 1."""
    generations: int = Field(ge=1)
    """Generations of a search."""


class Schedules(Section):
    """Schedules of kinds that have their own."""

    depth: Schedule | None = None
    """Where layers or blocks are dropped."""
    sparsity: Schedule | None = None
    """Where layers are sparse."""
    bits: Schedule | None = None
    """Where layers have few bits."""


class EvoPress(System):
    """Depth, sparsity and bits of each layer of a language model, chosen by evolution, beside simpler choices."""

    pictures = ("additivity", "search", "arms", "kept", "realised")
    works_on = "transformer"
    model: str = "deep_transformer"
    """Train variant that is compressed, of its seed 0; a transformer."""
    dropped: Dropped = [0.2, 0.3, 0.4]
    """Shares of the attention and of the feed-forward layers that are dropped."""
    blocks: int = Field(3, ge=1, le=4)
    """Whole blocks that are dropped where all choices are tried, and in the audit of up to so many."""
    sparsity: float = Field(0.7, gt=0, lt=1)
    """Share of the weights of linear layers that is zero."""
    bits: float = Field(3, gt=2, lt=6)
    """Mean bits of the weights of linear layers, 2 to 6 each; may be a fraction."""
    fitness: Literal["divergence", "sparse_divergence", "perplexity"] = "divergence"
    """What searches and single drops go by: the divergence from the dense model, on its largest logits, or the loss."""
    largest: int = Field(128, ge=2)
    """Logits of each token that sparse_divergence keeps."""
    calibration: int = Field(24, ge=2)
    """Windows of the training split that the search and the databases see."""
    judged: int = Field(48, ge=2)
    """Windows of the test split on which what was found is judged."""
    length: int = Field(128, ge=2)
    """Tokens of a window."""
    offspring: int = Field(16, ge=1)
    """Children of a generation; the paper takes 32 to 128."""
    stages: Rounds = [Round(sequences=4, keep=3), Round(sequences=24, keep=1)]
    """Stages of selection; the parent joins the last, which keeps 1."""
    starts: int = Field(64, ge=1)
    """Random states of which the first parent is the best, where layers are dropped."""
    start_windows: int = Field(4, ge=1)
    """Windows that judge them."""
    generations: int = Field(20, ge=1)
    """Generations of a search; the paper takes 150 to 400 with 70 layers and more."""
    schedules: Schedules = Schedules()
    """Children, stages and generations of a kind that has its own; the paper's differ."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds of the search; the model and the databases are the same for all."""

    @model_validator(mode="after")
    def _possible(self) -> EvoPress:
        own = [each for _, each in self.schedules if each is not None]
        for stages in (self.stages, *(each.stages for each in own)):
            most = max(self.start_windows, *(each.sequences for each in stages))
            if most > self.calibration:
                told = f"stages ask for {most} windows, calibration has {self.calibration}"
                raise ValueError(f"{told}; raise calibration")
            if stages[-1].keep != 1:
                raise ValueError(f"the last of stages keeps {stages[-1].keep}; let it keep 1")
        return self
