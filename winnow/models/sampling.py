"""Draws from log-probabilities, one row at a time, so that a row does not depend on the others of its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from winnow.errors import InputError
from winnow.models.language_model import Sample


def shaped(
    logprobs: np.ndarray, temperature: float, top_p: float, top_k: int, allowed: np.ndarray | None
) -> np.ndarray | None:
    """Chances float64[vocabulary] of the next token; None where nothing is allowed.

    Of the allowed tokens: the `top_k` likeliest (0 is all), of these the likeliest that make up `top_p`, the one that
    passes it included; then the temperature. Of equal ones the lower number goes first. temperature 0 leaves one.
    Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020.
    """
    logs = logprobs.astype(np.float64)
    if allowed is not None:
        logs = np.where(allowed, logs, -np.inf)
    if not np.isfinite(logs.max()):
        return None
    if temperature == 0:
        chosen = np.zeros(len(logs))
        chosen[logs.argmax()] = 1.0
        return chosen
    scaled = np.exp((logs - logs.max()) / temperature)
    if top_k or top_p < 1:
        scaled = np.where(_likeliest(logs, top_p, top_k), scaled, 0.0)
    found: np.ndarray = scaled / scaled.sum()
    return found


def _likeliest(logs: np.ndarray, top_p: float, top_k: int) -> np.ndarray:
    """bool[vocabulary]: what top_k and top_p leave."""
    order = np.argsort(-logs, kind="stable")
    kept = np.zeros(len(logs), bool)
    kept[order[: top_k or None]] = True
    if top_p < 1:
        share = np.cumsum(np.where(kept, np.exp(logs - logs.max()), 0.0)[order])
        kept[order[1:]] &= share[:-1] < top_p * share[-1]
    return kept


class Row:
    """One text that is being drawn, with a generator of its own; one of the tokens `ends` ends it."""

    def __init__(self, number: int, generator: np.random.Generator, ends: Sequence[int] = (0,)) -> None:
        self.number, self.generator, self.ends = number, generator, ends
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finish = ""
        self.kept: str | None = None

    def draw(
        self, logprobs: np.ndarray, temperature: float, top_p: float, top_k: int, allowed: np.ndarray | None
    ) -> int | None:
        """The next token by the inverse of its distribution; None where nothing is allowed."""
        if allowed is not None and allowed.shape != logprobs.shape:
            raise InputError(f"mask: allows {allowed.shape} of {len(logprobs)} tokens; give one entry for each")
        chances = shaped(logprobs, temperature, top_p, top_k, allowed)
        if chances is None:
            return None
        cumulative = np.cumsum(chances)
        token = int(np.searchsorted(cumulative, self.generator.random() * cumulative[-1], side="right"))
        token = min(token, int(np.flatnonzero(chances)[-1]))
        self.tokens.append(token)
        self.logprobs.append(float(logprobs[token]))
        return token

    def end(
        self, token: int | None, decode: Callable[[Sequence[int]], str], most: int, stop: Sequence[str], room: int
    ) -> None:
        """Mark why the text ends, if it does. room: tokens that may still follow what was read before this one."""
        if token is None:
            self.finish = "mask"
        elif token in self.ends:
            self.finish = "stop"
        else:
            text = decode(self.tokens) if stop else ""
            places = [place for word in stop if (place := text.find(word)) >= 0]
            if places:
                self.finish, self.kept = "stop", text[: min(places)]
            elif len(self.tokens) >= most or room < 1:
                self.finish = "length"

    def sample(self, decode: Callable[[Sequence[int]], str], seed: int) -> Sample:
        """What was drawn."""
        text = decode(self.tokens) if self.kept is None else self.kept
        finish = self.finish
        assert finish in ("stop", "length", "mask")
        return Sample(text, np.array(self.tokens, np.int64), np.array(self.logprobs), finish, seed)  # type: ignore[arg-type]
