"""Settings of attention over blocks that are drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Seeds, System, _distinct

Widths = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1), AfterValidator(_distinct)]


class BlockAttention(System):
    """Quality of a language model whose attention sees blocks by chance, at the cost of windows of some widths."""

    pictures = ("quality", "mass", "folding", "copying")
    works_on = "transformer"
    model: str = "transformer"
    """Train variant whose attention is changed."""
    block: int = Field(16, ge=1)
    """Tokens of a block."""
    widths: Widths = [2, 3, 5, 8]
    """Windows, in blocks, whose share of all blocks every way of drawing keeps on average."""
    tuned_width: int = Field(2, ge=2)
    """That at whose cost models are fine-tuned."""
    judged: int = Field(32, ge=2)
    """Windows of the test split, of the whole context."""
    draws: int = Field(5, ge=1)
    """Times each window is read, with blocks drawn anew, before and after fine-tuning."""
    finetune_steps: int = Field(100, ge=1)
    """Steps of fine-tuning with drawn blocks."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    batch_size: int = Field(16, ge=2)
    """Windows a step."""
    gaps: list[Annotated[int, Field(ge=1)]] = Field([64, 120], min_length=2, max_length=2)
    """Least and greatest distance, in tokens, at which the probe says tokens again."""
    probes: int = Field(256, ge=1)
    """Windows of the probe."""
    seeds: Seeds | None = None
    """Seeds; null takes the workload's."""
