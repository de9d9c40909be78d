"""Settings of dictionaries judged on a task whose attributes are known."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Seeds, System, _distinct

Sizes = Annotated[list[Annotated[int, Field(ge=1, le=16)]], Field(min_length=1), AfterValidator(_distinct)]
Widths = Annotated[list[Annotated[int, Field(ge=4)]], Field(min_length=3), AfterValidator(_distinct)]
Ratios = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=3), AfterValidator(_distinct)]
Penalties = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]


class SupervisedDictionaries(System):
    """Sparse autoencoders of a task's heads beside dictionaries built from what the task is about."""

    pictures = ("axes", "edits", "toys", "levels", "told")
    model: str = "lm_names"
    """Train or compress variant whose heads are read."""
    fit_prompts: int = Field(4000, ge=2000)
    """Prompts of the train split that dictionaries are fitted on."""
    prompts: int = Field(500, ge=20)
    """Prompts of the test split that they are judged on."""
    width: int = Field(96, ge=8)
    """Features of an autoencoder (m)."""
    k: int = Field(3, ge=1)
    """Active features, kept or aimed at."""
    steps: int = Field(300, ge=1)
    """Steps of an autoencoder."""
    batch_size: int = Field(256, ge=1)
    """Rows a step."""
    penalties: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)] = [
        2.0,
        3.0,
        4.0,
    ]
    """Weights of the sparsity penalty of relu_l1 and gated, of which the one with the nearest L0 is taken."""
    sizes: Sizes = [1, 2, 4]
    """Features taken out and put in by an edit."""
    least_ceiling: float = Field(0.95, ge=0, le=1)
    """Share of the prompts that exchanging all of the nodes must answer as their counterfactuals."""
    ratios: Ratios = [1.0, 0.85, 0.7, 0.6, 0.5]
    """Lengths of the smaller of two attributes in the toy of occlusion."""
    widths: Widths = [8, 16, 32, 64, 128]
    """Features in the toy of over-splitting."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds of model, prompts and dictionaries."""
