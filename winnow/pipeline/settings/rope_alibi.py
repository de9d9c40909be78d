"""Settings of rotary positions with biases that fall with distance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

# Stands here as well as beside the method, which imports torch: params.yaml is checked before every command.
Mode = Literal["additive_harmonic", "harmonic_number", "factored", "geometric", "split", "rope", "alibi", "none"]
Biased = Literal["additive_harmonic", "harmonic_number", "factored", "geometric", "split", "alibi"]
Modes = Annotated[list[Mode], Field(min_length=1), AfterValidator(_distinct)]
Strengths = Annotated[list[Annotated[float, Field(ge=0)]], AfterValidator(_distinct)]
Lengths = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1), AfterValidator(_distinct)]


class RopeAlibi(System):
    """Language models of bytes with positions of several kinds, asked about contexts longer than they learned."""

    pictures = ("lengths", "profile", "biases", "strengths")
    modes: Modes = ["rope", "alibi", "geometric", "additive_harmonic", "harmonic_number", "factored", "split"]
    """Ways of positions, each trained alike."""
    strengths: dict[Literal["additive_harmonic", "geometric"], Strengths] = {
        "additive_harmonic": [1.0, 0.0625],
        "geometric": [0.25, 4.0],
    }
    """Other strengths for the two, so that slopes are compared and not their size alone."""
    learned: Annotated[list[Biased], AfterValidator(_distinct)] = ["additive_harmonic"]
    """Modes with a bias that are also run with a strength that each head learns."""
    width: int = Field(64, ge=8)
    """Width of the models."""
    layers: int = Field(3, ge=1)
    """Blocks."""
    heads: int = Field(4, ge=1)
    """Heads of each block."""
    context: int = Field(64, ge=8)
    """Bytes of a window in training."""
    steps: int = Field(450, ge=1)
    """Steps of training."""
    batch_size: int = Field(32, ge=1)
    """Windows a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak, of AdamW."""
    lengths: Lengths = [64, 128, 256, 512]
    """Contexts of the test split, in bytes."""
    judged: int = Field(32, ge=1)
    """Last bytes of each window, the same for each length, that count."""
    windows: int = Field(256, ge=2)
    """Windows that are judged."""
    copy_gap: int = Field(17, ge=1)
    """How many places back stands the token that the probe asks for."""
    copy_steps: int = Field(300, ge=1)
    """Steps of training for the probe."""
    copy_rate: float = Field(3e-3, gt=0)
    """Its learning rate."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds."""

    @model_validator(mode="after")
    def _possible(self) -> RopeAlibi:
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}, no multiple of twice the {self.heads} heads; change one of them")
        if self.context not in self.lengths:
            raise ValueError(f"lengths lack the context {self.context}; add it")
        if self.judged > min(self.lengths):
            raise ValueError(f"judged is {self.judged}, more than the shortest length {min(self.lengths)}; lower it")
        if self.copy_gap >= self.context:
            raise ValueError(f"copy_gap is {self.copy_gap}; it must lie below the context {self.context}")
        return self
