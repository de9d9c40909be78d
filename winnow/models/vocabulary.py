"""The tokens of a language model: a text as numbers and back, and the bytes that each of them stands for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from winnow.models.language_model import Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Vocabulary:
    """A tokenizer with the bytes of each token; tokens that steer a model stand for none.

    begin: the token that a model reads before a text. ends: the tokens that end one, the first of them by preference.
    """

    def __init__(
        self, tokenizer: Tokenizer, pieces: Sequence[bytes], begin: int = 0, ends: Collection[int] = (0,)
    ) -> None:
        self.tokenizer, self.pieces, self.begin, self.ends = tokenizer, pieces, begin, tuple(ends)
        # A text that spells out a token that steers is encoded as its letters.
        tokenizer.encode_special_tokens = True

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> Tokens:
        """Tokens int64[t] of a text, without the one before it."""
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; a number beyond the last, as models of padded sizes have them, stands for none."""
        return self.pieces[token] if token < len(self.pieces) else b""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.bytes_of(int(token)) for token in ids).decode("utf-8", "replace")

    def spans(self, ids: Tokens) -> np.ndarray:
        """Characters int32[t, 2] of each token, half open; one of several tokens belongs to the last of them."""
        bytes_of = [self.bytes_of(int(token)) for token in ids]
        ends = np.cumsum([sum((byte & 0xC0) != 0x80 for byte in each) for each in bytes_of]).astype(np.int32)
        # A character is whole once the next one begins: of one that is cut, the first tokens have nothing yet.
        content, stops = b"".join(bytes_of), np.cumsum([len(each) for each in bytes_of]).tolist()
        cut = [_unfinished(content[max(0, stop - 3) : stop]) for stop in stops]
        ends = ends - np.array(cut, np.int32)
        starts = np.concatenate([[0], ends])[: len(ends)]
        return np.stack([starts, ends], axis=1).astype(np.int32)


def byte_level(tokenizer: Tokenizer) -> Vocabulary:
    """The vocabulary of a byte-level tokenizer that was trained here: token 0 comes before a text and ends one."""
    letters = letters_of_bytes()
    words = (tokenizer.id_to_token(token) or "" for token in range(1, tokenizer.get_vocab_size()))
    return Vocabulary(tokenizer, [b"", *(bytes(letters[letter] for letter in word) for word in words)])


def letters_of_bytes() -> dict[str, int]:
    """Letter that stands for a byte in a byte-level vocabulary -> the byte (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _unfinished(tail: bytes) -> bool:
    """Whether bytes, three of them at most, end within a character of UTF-8."""
    for back, byte in enumerate(reversed(tail), 1):
        if byte >= 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False
