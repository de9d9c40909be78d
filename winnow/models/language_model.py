"""One way to ask a language model, whatever it is: next tokens, scores of texts, samples; nothing about how to decode.

A method asks for the capabilities that it needs (`require`), and is refused by name of what is missing before it has
worked. The back ends: `winnow.models.small_language_model` of the models that are trained here,
`winnow.models.gguf_files` of published ones, `winnow.models.endpoint` of those behind a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from winnow.errors import InputError

Capability = Literal["next", "score", "sample", "batch", "state", "hidden", "mask", "seeded", "chat", "train"]
Tokens = np.ndarray
"""int64[t]"""


class Unsupported(InputError):
    """A model lacks what a method needs."""


@dataclass(frozen=True)
class Scores:
    """Log-probabilities [nats] of the tokens of a text, their characters [t, 2], and the likeliest tokens instead."""

    token_ids: Tokens
    logprobs: np.ndarray
    offsets: np.ndarray
    top_ids: np.ndarray | None = None
    top_logprobs: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """A text that was drawn, its tokens with log-probabilities [nats], and why it ended."""

    text: str
    token_ids: Tokens
    logprobs: np.ndarray
    finish: Literal["stop", "length", "mask"]
    seed: int


class State(Protocol):
    """What was read so far, of several rows; never changed, `extend` and `select` give new ones."""

    @property
    def rows(self) -> int: ...
    @property
    def lengths(self) -> np.ndarray: ...


class TokenMask(Protocol):
    """Which tokens may follow in each row of a batch; rows are numbered as `sample` gives them."""

    def allowed(self, row: int) -> np.ndarray | None:
        """bool[vocabulary], or None for all."""
        ...

    def advance(self, row: int, token: int) -> None:
        """Told of each token that was drawn."""
        ...


class LanguageModel(Protocol):
    """What decoding, search and tuning methods see of a model."""

    name: str
    digest: str
    vocab_size: int
    eos_id: int
    context_length: int
    capabilities: frozenset[str]

    def encode(self, text: str) -> Tokens: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def token_bytes(self, token: int) -> bytes: ...
    def start(self, prompts: Sequence[Tokens]) -> State: ...
    def next(self, state: Any) -> np.ndarray: ...
    def extend(self, state: Any, tokens: Tokens) -> State: ...
    def select(self, state: Any, rows: Tokens) -> State: ...
    def score(self, texts: Sequence[str | Tokens], prefix: str | None = None, top: int = 0) -> list[Scores]: ...
    def hidden(self, texts: Sequence[str]) -> list[np.ndarray]: ...
    def sample(
        self,
        prompts: Sequence[Tokens],
        n: int = 1,
        max_tokens: int = 64,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Sequence[str] = (),
        seed: int = 0,
        mask: TokenMask | None = None,
    ) -> list[list[Sample]]: ...


def require(model: LanguageModel, *needed: Capability) -> None:
    """Raise Unsupported, naming the capability, where a model lacks one that is needed."""
    for capability in needed:
        if capability not in model.capabilities:
            raise Unsupported(f"{model.name}: cannot {capability!r}; use a model of another back end")
