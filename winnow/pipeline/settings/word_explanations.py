"""Settings of explanations of a classifier of texts, word by word."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import Names, Seeds, System

Topics = Annotated[dict[str, Names], Field(min_length=2)]


class WordExplanations(System):
    """Topics of documentation told by an encoder, and what each word does to them by several explanations."""

    pictures = ("joined", "phrases", "user", "words")
    topics: Topics = {
        "web": ["flask", "httpx", "requests", "werkzeug"],
        "terminal": ["click", "rich"],
        "parsing": ["jinja2", "jsonschema", "pyparsing"],
        "testing": ["pytest"],
    }
    """Topic -> packages whose documentation is about it."""
    words: int = Field(2000, ge=100)
    """Words that are tokens, at most."""
    width: int = Field(64, ge=8)
    """Width of the encoders."""
    layers: int = Field(2, ge=1)
    """Their blocks."""
    heads: int = Field(4, ge=1)
    """Their heads."""
    epochs: int = Field(20, ge=1)
    """Passes over the training texts."""
    batch_size: int = Field(64, ge=2)
    """Texts in a step; a multiple of the number of topics."""
    learning_rate: float = Field(2e-3, gt=0)
    """Of the training, at its peak."""
    worse_share: float = Field(0.1, gt=0, lt=1)
    """Share of the training texts that the worse of two models sees."""
    gated: bool = True
    """Whether models must be as accurate, as far apart, and turned by the phrase as explanations are judged by."""
    joined: int = Field(200, ge=5)
    """Texts of two topics."""
    phrases: int = Field(200, ge=5)
    """Texts with the planted phrase, at most."""
    compared: int = Field(200, ge=5)
    """Texts of which both models are explained, at most."""
    lexicon: int = Field(50, ge=1)
    """Words that are known to tell a topic."""
    seeds: Seeds | None = [0, 1, 2]
    """Seeds of models and texts."""

    @model_validator(mode="after")
    def _whole(self) -> WordExplanations:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of the {self.heads} heads")
        if self.batch_size % len(self.topics):
            raise ValueError(f"batch_size {self.batch_size} is no multiple of the {len(self.topics)} topics")
        packages = [package for own in self.topics.values() for package in own]
        twice = [package for package in packages if packages.count(package) > 1]
        if twice:
            raise ValueError(f"topics name {twice[0]!r} twice; a package is about one topic")
        return self
