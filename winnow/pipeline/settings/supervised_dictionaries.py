"""Settings of dictionaries judged on a task whose attributes are known."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Seeds, System, _distinct

Sizes = Annotated[list[Annotated[int, Field(ge=1, le=16)]], Field(min_length=1), AfterValidator(_distinct)]
Widths = Annotated[list[Annotated[int, Field(ge=4)]], Field(min_length=3), AfterValidator(_distinct)]
Ratios = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=3), AfterValidator(_distinct)]
Penalties = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]


Arms = Annotated[
    list[Literal["topk", "batchtopk", "relu_l1", "gated", "attribution", "general"]],
    Field(min_length=1),
    AfterValidator(_distinct),
]


class TaskDictionaries(System):
    """Sparse autoencoders of a task's heads beside dictionaries built from what the task is about."""

    pictures: ClassVar[tuple[str, ...]] = ("axes", "edits", "levels", "told")
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
    penalties: Penalties = [2.0, 3.0, 4.0]
    """Weights of the sparsity penalty of relu_l1 and gated, of which the one with the nearest L0 is taken."""
    arms: Arms = ["topk", "batchtopk", "relu_l1", "gated", "attribution", "general"]
    """Autoencoders: by architecture, by attribution with and without what is left unexplained, and of other texts."""
    queries: bool = True
    """Whether edits of subject and order are judged too, in queries."""
    sizes: Sizes = [1, 2, 4]
    """Features taken out and put in by an edit."""
    least_ceiling: float = Field(0.95, ge=0, le=1)
    """Share of the prompts that exchanging all of the nodes must answer as their counterfactuals."""


class SupervisedDictionaries(TaskDictionaries):
    """Dictionaries of a model of the language of names, on who got something, and two toys of what may go wrong."""

    pictures = (*TaskDictionaries.pictures, "toys")
    model: str = "lm_names"
    """Train or compress variant whose heads are read."""
    ratios: Ratios = [1.0, 0.85, 0.7, 0.6, 0.5]
    """Lengths of the smaller of two attributes in the toy of occlusion."""
    widths: Widths = [8, 16, 32, 64, 128]
    """Features in the toy of over-splitting."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Seeds of model, prompts and dictionaries."""


class CodeDictionaries(TaskDictionaries):
    """Dictionaries of a model of code, or of a copy that was taught, on the parameter that is not stored yet."""

    works_on = "hooked_transformer"
    model: str = "lm_code"
    """Train or compress variant whose heads are read."""
    fit_prompts: int = Field(3000, ge=2000)
    """Prompts of the train split that dictionaries are fitted on."""
    queries: bool = False
    """Whether edits of subject and order are judged too, in queries, where hardly an answer moves with them."""
    names: int = Field(40, ge=8)
    """Most names of parameters, those that are arguments in most files."""
    held_pairs: float = Field(0.2, gt=0, lt=0.5)
    """Share of the pairs of names that are valid's, and as many test's."""
    lessons: int = Field(800, ge=1)
    """Steps in which a copy is taught the task where the model cannot do it."""
    lesson_size: int = Field(16, ge=1)
    """Prompts of a step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak learning rate of AdamW in them."""
    least_accuracy: float = Field(0.95, ge=0, le=1)
    """Share of the valid prompts that a taught copy must answer."""
    windows: int = Field(100, ge=1)
    """Windows of the train split on which the autoencoder of other texts is fitted."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds of model, prompts and dictionaries."""
