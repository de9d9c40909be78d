"""What a language model says of held-out texts, in bits a byte, which models of any vocabulary can be compared by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from winnow.errors import InputError
from winnow.models.language_model import LanguageModel, Scores, require


def text_scores(model: LanguageModel, texts: Sequence[str]) -> dict[str, float]:
    """bits_per_byte, cross_entropy [nats a token] and bytes_per_token of texts, over the tokens that a model scores.

    A text is encoded as a whole and then cut into windows of the model's context, which do not see one another; a model
    that keeps no states, as behind an endpoint, is given each text at once. A token of which such a model says nothing,
    the first of a text, counts on neither side. Raises InputError where nothing is scored, and Unsupported.
    """
    require(model, "score")
    nats, bytes_, tokens = 0.0, 0, 0
    for text in texts:
        for scores, piece in _scored(model, text):
            told = np.isfinite(scores.logprobs)
            nats -= float(scores.logprobs[told].sum())
            tokens += int(told.sum())
            bytes_ += piece if told.all() else _bytes(text, scores.offsets[told])
    if not tokens or not bytes_:
        raise InputError(f"{model.name}: scores none of {len(texts)} texts; give texts of several tokens")
    bits = nats / math.log(2)
    return {"bits_per_byte": bits / bytes_, "cross_entropy": nats / tokens, "bytes_per_token": bytes_ / tokens}


def _scored(model: LanguageModel, text: str) -> Iterator[tuple[Scores, int]]:
    """Scores of the windows of a text, each with its bytes."""
    if "state" not in model.capabilities:
        yield model.score([text])[0], len(text.encode())
        return
    ids, size = model.encode(text), model.context_length - 1
    for first in range(0, len(ids), size):
        window = ids[first : first + size]
        yield model.score([window])[0], sum(len(model.token_bytes(int(token))) for token in window)


def _bytes(text: str, offsets: np.ndarray) -> int:
    return sum(len(text[first:last].encode()) for first, last in offsets)
