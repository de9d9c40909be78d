"""Settings of language models' evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import Names, Section, System, _distinct

Orders = Annotated[list[Annotated[int, Field(ge=1, le=7)]], Field(min_length=1), AfterValidator(_distinct)]
Batches = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct)]


class Endpoint(Section):
    """A language model behind an OpenAI-compatible server."""

    url: str
    """Where it is asked; ends in /v1."""
    model: str
    """What the server calls the model."""
    key: str | None = None
    """Name of the environment variable that holds the server's key; null where it wants none."""
    context: int = Field(4096, ge=2)
    """Tokens that it reads at most."""


class LanguageModels(System):
    """Language models beside n-gram models with Kneser-Ney smoothing: bits per byte, learning, speed, drawn texts."""

    pictures = ("bits_per_byte", "learning", "speed")
    models: Names = ["transformer"]
    """Train variants, each at the job's seed."""
    orders: Orders = [3, 6]
    """Longest runs of tokens that the n-gram models count."""
    published: Annotated[list[str], AfterValidator(_distinct)] = []
    """Sources of data/sources.yaml that are language models in GGUF files; fetched when they are named here."""
    endpoint: Endpoint | None = None
    """A server's model; null asks none."""
    judged_bytes: int = Field(20_000, ge=100)
    """Text of the held_out split that every model reads, about, whatever its vocabulary."""
    batches: Batches = [1, 8, 32]
    """Texts that are drawn side by side where speed is measured."""
    prompts: Names = ["", "def ", "class ", "import "]
    """What drawn texts begin with."""
    samples: int = Field(2, ge=1)
    """Texts after each prompt."""
    tokens: int = Field(80, ge=1)
    """Longest of them."""
    temperature: float = Field(0.8, ge=0)
    """What scores are divided by where texts are drawn."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Share of the likeliest tokens that are drawn from."""
