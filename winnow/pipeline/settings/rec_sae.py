"""Settings of sparse autoencoders of a recommender's states, and of what they are judged by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import System, _distinct
from winnow.pipeline.settings.dictionaries import SparseAutoencoder

Kind = Literal["genre", "era", "popularity", "property", "item"]


class RecSaeDictionary(SparseAutoencoder):
    """A sparse autoencoder of the states that items are scored by."""

    hook: str = Field("user_state", min_length=1)
    """Hook point whose rows are explained."""
    width: int = Field(1024, ge=2)
    """Features of the dictionary (m); the authors have 32 for each dimension of a state."""
    k: int | None = Field(16, ge=1)
    """Features a row keeps; the authors keep 32."""
    aux: Literal["core", "published"] = "core"
    """core is the autoencoder that all workloads share; published has the loss and the loop of the authors' code."""

    @model_validator(mode="after")
    def _published_is_topk(self) -> RecSaeDictionary:
        if self.aux == "published" and self.architecture != "topk":
            raise ValueError(f"aux published belongs to architecture topk, and it is {self.architecture}")
        if self.aux == "published" and self.learning_rate is None:
            raise ValueError("learning_rate is null, whose law the loop of aux published has not; give a number")
        return self


class RecSae(System):
    """Concepts of latents, how far they can be relied on, and what edits of latents do to what is offered."""

    pictures = ("confidence", "cards", "edits")
    dictionary: str = "rec"
    """Name of a dictionaries section."""
    model: str = "sasrec"
    """Train or compress variant, of those that it is fitted on."""
    kinds: Annotated[list[Kind], Field(min_length=1), AfterValidator(_distinct)] = [
        "genre",
        "era",
        "popularity",
        "property",
        "item",
    ]
    """What concepts are made of."""
    frequent_items: int = Field(600, ge=1)
    """Items that are concepts of their own: those taken most."""
    least_items: int = Field(8, ge=1)
    """Items that a property must have to be a concept."""
    top: int = Field(50, ge=1)
    """Training users, those in whom a latent is strongest, whose histories its concept is read from."""
    rows: int = Field(40_000, ge=64)
    """Most places of training users that concepts are read from."""
    held_out_rows: int = Field(20_000, ge=64)
    """Most places of valid users, and of test users, that they are judged on."""
