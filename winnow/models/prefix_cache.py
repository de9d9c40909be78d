"""A language model that remembers the prefixes it has read, for searches that come back to them again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.errors import InputError
from winnow.models.language_model import LanguageModel, Tokens, require

Prefix = tuple[int, ...]


@dataclass(frozen=True)
class PrefixState:
    """The prefix of each row, and where reading began."""

    prefixes: tuple[Prefix, ...]
    begun: int

    @property
    def rows(self) -> int:
        return len(self.prefixes)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens read in each row, the one before the text included: int64[rows]."""
        return np.array([self.begun + len(prefix) for prefix in self.prefixes], np.int64)


class PrefixCache:
    """A language model whose states of the last `capacity` prefixes are kept; all else is the model's own.

    A prefix goes on from the longest one of it that is known. `read` counts the tokens that the model was given. Raises
    InputError for a capacity below 1, and Unsupported for a model without states.
    """

    def __init__(self, model: LanguageModel, capacity: int = 4096) -> None:
        if capacity < 1:
            raise InputError(f"capacity is {capacity}; keep at least one prefix")
        require(model, "state", "next")
        self.model, self.capacity, self.read = model, capacity, 0
        self.known: OrderedDict[Prefix, Any] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def start(self, prompts: Sequence[Tokens]) -> PrefixState:
        """The state after prompts of any lengths."""
        prefixes = tuple(tuple(map(int, prompt)) for prompt in prompts)
        if not prefixes:
            self.model.start([])  # which tells what is wrong
        begun = [int(self._state(prefix).lengths[0]) - len(prefix) for prefix in prefixes]
        return PrefixState(prefixes, begun[0])

    def next(self, state: PrefixState) -> np.ndarray:
        """Log-probabilities float32[rows, vocabulary] of the next token [nats]."""
        return np.concatenate([self.model.next(self._state(prefix)) for prefix in state.prefixes])

    def extend(self, state: PrefixState, tokens: Tokens) -> PrefixState:
        """The state after one more token int64[rows] of each row."""
        pairs = zip(state.prefixes, tokens, strict=True)
        longer = PrefixState(tuple((*prefix, int(token)) for prefix, token in pairs), state.begun)
        for prefix in longer.prefixes:
            self._state(prefix)
        return longer

    def select(self, state: PrefixState, rows: Tokens) -> PrefixState:
        """The state of some rows int64[k], in that order, any of them several times."""
        return PrefixState(tuple(state.prefixes[row] for row in rows), state.begun)

    def _state(self, prefix: Prefix) -> Any:
        """The model's state of a single row after a prefix."""
        known = next((n for n in range(len(prefix), -1, -1) if prefix[:n] in self.known), None)
        if known is None:
            state = self.model.start([np.array(prefix, np.int64)])
            self.read += int(state.lengths[0])
        else:
            state = self.known[prefix[:known]]
            for token in prefix[known:]:
                state = self.model.extend(state, np.array([token]))
                self.read += 1
        self.known[prefix] = state
        self.known.move_to_end(prefix)
        while len(self.known) > self.capacity:
            self.known.popitem(last=False)
        return state
