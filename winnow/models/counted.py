"""A language model that counts what it is asked for: calls, tokens and forward passes, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow.models.language_model import LanguageModel, Sample, Scores, State, Tokens


class Counted:
    """A language model with its costs; all that is not counted is the model's own.

    calls: of the methods that run the model. prompt_tokens: given to it, without the one before a text.
    generated_tokens: drawn, or fed one by one. forward_passes: rows that it ran, a text that is read at once being one
    row, and each token that is read after it another; n samples of a prompt read that once. A cache belongs outside: it
    then counts what was not remembered.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.calls = self.prompt_tokens = self.generated_tokens = self.forward_passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def taken(self) -> dict[str, float]:
        """The costs so far, by name; counting begins anew."""
        names = ("calls", "prompt_tokens", "generated_tokens", "forward_passes")
        found = {name: float(getattr(self, name)) for name in names}
        self.calls = self.prompt_tokens = self.generated_tokens = self.forward_passes = 0
        return found

    def start(self, prompts: Sequence[Tokens]) -> State:
        """The model's state after prompts: a pass for each."""
        state = self.model.start(prompts)
        self._count(sum(map(len, prompts)), 0, len(prompts))
        return state

    def extend(self, state: State, tokens: Tokens) -> State:
        """The model's state after one more token of each row: a pass for each."""
        longer = self.model.extend(state, tokens)
        self._count(0, len(tokens), len(tokens))
        return longer

    def score(self, texts: Sequence[str | Tokens], prefix: str | None = None, top: int = 0) -> list[Scores]:
        """The model's scores: a pass for each text, with the prefix before it."""
        found = self.model.score(texts, prefix, top)
        before = len(self.model.encode(prefix)) if prefix else 0
        self._count(sum(before + len(scores.token_ids) for scores in found), 0, len(found))
        return found

    def hidden(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The model's hidden states: a pass for each text."""
        states = self.model.hidden(texts)
        self._count(sum(map(len, states)), 0, len(texts))
        return states

    def sample(self, prompts: Sequence[Tokens], *arguments: Any, **options: Any) -> list[list[Sample]]:
        """The model's samples: a pass for each prompt, and for each token that another is drawn after."""
        found = self.model.sample(prompts, *arguments, **options)
        samples = [sample for group in found for sample in group]
        drawn = sum(len(sample.token_ids) for sample in samples)
        # The last token of a text is not read, unless it was to be followed by one and the mask allowed none.
        unread = sum(sample.finish != "mask" for sample in samples)
        self._count(sum(map(len, prompts)), drawn, len(prompts) + drawn - unread)
        return found

    def _count(self, prompt: int, generated: int, passes: int) -> None:
        self.calls += 1
        self.prompt_tokens += prompt
        self.generated_tokens += generated
        self.forward_passes += passes
