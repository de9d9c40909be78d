"""Settings of generated sequences and of the models trained on them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from winnow.pipeline.settings.base import Section, Seeds
from winnow.pipeline.settings.local_interaction_basis import ModularSums


class CurateSequences(Section):
    """How many documents are generated; what each split is about stands in no other."""

    documents: Annotated[list[Annotated[int, Field(ge=4)]], Field(min_length=3, max_length=3)] = [89_600, 1_000, 2_000]
    """Documents of train, valid and test."""
    context: int = Field(32, ge=20)
    """Most tokens that a model of them reads."""


class NamesLanguage(Section):
    """A hooked transformer of the small language of names, trained until it can do what its circuits are sought for."""

    method: Literal["names_language"] = "names_language"
    """How it is trained."""
    arguments: dict[str, int | float | bool | str | list[int]] = {}
    """Constructor arguments of the hooked transformer, over its defaults."""
    epochs: int = Field(1, ge=1)
    """Passes over the training documents."""
    batch_size: int = Field(128, ge=1)
    """Documents a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
    gated: bool = True
    """Whether a model that cannot do its tasks is trained once more, and refused if it then cannot either."""
    optional: bool = False
    """Left out of the default target and of what measures all models; made where another section names it."""
    seeds: Seeds | None = None
    """Seeds of this variant; null takes the workload's."""


def method_of_sequences(section: Any) -> str:
    """The method that a section of the train family names, names_language where it names none."""
    return str(section.get("method", "names_language") if isinstance(section, dict) else section.method)


TrainedSequences = Annotated[
    Annotated[NamesLanguage, Tag("names_language")] | Annotated[ModularSums, Tag("modular_addition")],
    Discriminator(method_of_sequences),
]
"""A section of the train family of generated sequences."""
