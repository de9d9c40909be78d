"""The language model of a decoder that was trained here, with its tokenizer: all that `LanguageModel` asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.language_model import Sample, Scores, TokenMask, Tokens
from winnow.models.reading import Read, readable
from winnow.models.sampling import Row
from winnow.models.vocabulary import Vocabulary
from winnow.randomness import numpy_generator

ROWS = 64
"""Tokens whose distributions are computed at a time."""


@dataclass(frozen=True)
class SmallState:
    """Caches of keys and values, and the log-probabilities float32[rows, vocabulary] of what follows."""

    cache: Read
    following: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.following)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens read in each row, int64[rows]."""
        return self.cache.lengths.numpy()


class SmallLanguageModel:
    """A decoder of the registry with its vocabulary.

    A text begins after the vocabulary's first token. Raises InputError for a prompt longer than the context, for log-
    probabilities that are not numbers, and for impossible settings of a draw.
    """

    capabilities: frozenset[str] = frozenset(
        {"next", "score", "sample", "batch", "state", "hidden", "mask", "seeded", "train"}
    )

    def __init__(self, net: nn.Module, vocabulary: Vocabulary, context_length: int, name: str = "small") -> None:
        self.net = readable(net).eval()
        self.vocabulary, self.context_length, self.name = vocabulary, context_length, name
        self.vocab_size, self.eos_id = self.net.embedding.num_embeddings, vocabulary.ends[0]
        if len(vocabulary) > self.vocab_size:
            sizes = f"{len(vocabulary)} tokens where the model has {self.vocab_size}"
            raise InputError(f"{name}: the tokenizer has {sizes}; take the one it was trained with")
        self.digest = _digest(self.net, vocabulary)
        if not any(parameter.requires_grad for parameter in self.net.parameters()):
            self.capabilities = self.capabilities - {"train"}

    def encode(self, text: str) -> Tokens:
        """Tokens of a text; one that spells out a token that steers is encoded as its letters."""
        return self.vocabulary.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; those that steer have none, bytes that are no UTF-8 become U+FFFD."""
        return self.vocabulary.decode(ids)

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for."""
        return self.vocabulary.bytes_of(token)

    @torch.no_grad()
    def start(self, prompts: Sequence[Tokens]) -> SmallState:
        """The state after prompts of any lengths; each is read after the first token."""
        rows = [np.concatenate([[self.vocabulary.begin], prompt]).astype(np.int64) for prompt in prompts]
        if not rows:
            raise InputError(f"{self.name}: was given no prompt; give at least one, empty if it is to begin a text")
        for row in rows:
            self._fits(len(row))
        most = max(len(row) for row in rows)
        blank = torch.tensor([most - len(row) for row in rows])
        filled = torch.from_numpy(np.stack([np.pad(row, (most - len(row), 0)) for row in rows]))
        hidden, cache = self.net.read(filled, blank=blank)
        return SmallState(cache, self._following(hidden[:, -1]))

    def next(self, state: SmallState) -> np.ndarray:
        """Log-probabilities float32[rows, vocabulary] of the next token [nats]."""
        return state.following

    @torch.no_grad()
    def extend(self, state: SmallState, tokens: Tokens) -> SmallState:
        """The state after one more token int64[rows] of each row."""
        self._fits(int(state.lengths.max()) + 1)
        x = torch.from_numpy(np.asarray(tokens, np.int64))[:, None]
        hidden, cache = self.net.read(x, state.cache)
        return SmallState(cache, self._following(hidden[:, -1]))

    def select(self, state: SmallState, rows: Tokens) -> SmallState:
        """The state of some rows int64[k], in that order, any of them several times."""
        rows = np.asarray(rows, np.int64)
        return SmallState(state.cache.select(torch.from_numpy(rows)), state.following[rows])

    @torch.no_grad()
    def score(self, texts: Sequence[str | Tokens], prefix: str | None = None, top: int = 0) -> list[Scores]:
        """Log-probabilities of each text's tokens after the prefix, and of the `top` likeliest in their place.

        A text may be given as its tokens, of which the first may be in the middle of a character.
        """
        before = np.concatenate([[self.vocabulary.begin], self.encode(prefix or "")]).astype(np.int64)
        found = []
        for text in texts:
            ids = self.encode(text) if isinstance(text, str) else np.asarray(text, np.int64)
            self._fits(len(before) + len(ids))
            read, _ = self.net.read(torch.from_numpy(np.concatenate([before, ids]))[None])
            chosen, best, likeliest = self._chosen(read[0, len(before) - 1 : -1], ids, top)
            found.append(Scores(ids, chosen, self.vocabulary.spans(ids), best, likeliest))
        return found

    @torch.no_grad()
    def hidden(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Last hidden states float32[t, width] after each token of each text."""
        states = []
        for text in texts:
            ids = np.concatenate([[self.vocabulary.begin], self.encode(text)]).astype(np.int64)
            self._fits(len(ids))
            states.append(self.net.read(torch.from_numpy(ids)[None])[0][0, 1:].numpy())
        return states

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
    ) -> list[list[Sample]]:
        """n texts after each prompt; row i * n + j is text j of prompt i, and its draws depend on seed, i and j alone.

        temperature 0 takes the likeliest token, of equal ones the lowest. top_p, top_k: only the likeliest tokens that
        make up this share, or so many; 1 and 0 leave all. stop: texts that end a sample, and are cut off. A sample also
        ends with a token that ends texts, where the mask allows nothing, and with the context.
        """
        if n < 1 or max_tokens < 1 or temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
            told = f"n {n}, max_tokens {max_tokens}, temperature {temperature}, top_p {top_p}, top_k {top_k}"
            raise InputError(f"{self.name}: cannot sample with {told}; correct what is out of range")
        pairs = [(i, j) for i in range(len(prompts)) for j in range(n)]
        ends = self.vocabulary.ends
        drawing = [Row(i * n + j, numpy_generator(seed, "sample", str(i), str(j)), ends) for i, j in pairs]
        state = self.select(self.start(prompts), np.repeat(np.arange(len(prompts)), n))
        running = list(drawing)
        while running:
            tokens = []
            for place, row in enumerate(running):
                allowed = mask.allowed(row.number) if mask else None
                token = row.draw(state.following[place], temperature, top_p, top_k, allowed)
                if token is not None and mask:
                    mask.advance(row.number, token)
                row.end(token, self.decode, max_tokens, stop, self.context_length - int(state.lengths[place]))
                tokens.append(token)
            going = [place for place, row in enumerate(running) if not row.finish]
            if going:
                state = self.extend(self.select(state, np.array(going)), np.array([tokens[place] for place in going]))
            running = [running[place] for place in going]
        samples = [row.sample(self.decode, seed) for row in drawing]
        return [samples[i * n : (i + 1) * n] for i in range(len(prompts))]

    def _chosen(self, hidden: Tensor, ids: Tokens, top: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Log-probabilities [t] of tokens after hidden states [t, width], and those of the `top` likeliest [t, top]."""
        chosen, best, likeliest = [np.zeros(0)], [np.zeros((0, top), np.int64)], [np.zeros((0, top), np.float32)]
        for first in range(0, len(ids), ROWS):  # all at once, a large vocabulary would take gigabytes
            part = slice(first, first + ROWS)
            logs = self._numbers(self.net.logits(hidden[part]).double().log_softmax(-1).numpy())
            chosen.append(np.take_along_axis(logs, ids[part, None], axis=1)[:, 0])
            if top:
                best.append(np.argsort(-logs, axis=1, kind="stable")[:, :top])
                likeliest.append(np.take_along_axis(logs, best[-1], axis=1).astype(np.float32))
        tops = (np.concatenate(best), np.concatenate(likeliest)) if top else (None, None)
        return np.concatenate(chosen), *tops

    def _fits(self, length: int) -> None:
        if length > self.context_length:
            told = f"{length} tokens, the first included, do not fit a context of {self.context_length}"
            raise InputError(f"{self.name}: {told}; shorten the text")

    def _following(self, hidden: Tensor) -> np.ndarray:
        return self._numbers(self.net.logits(hidden).double().log_softmax(-1).float().numpy())

    def _numbers(self, logs: np.ndarray) -> np.ndarray:
        if np.isnan(logs).any():
            raise InputError(f"{self.name}: gives log-probabilities that are not numbers; train it again")
        return logs


def _digest(net: nn.Module, vocabulary: Vocabulary) -> str:
    """sha256 of weights and tokenizer."""
    digest = hashlib.sha256(vocabulary.tokenizer.to_str().encode())
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
