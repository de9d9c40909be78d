"""A language model behind an OpenAI-compatible endpoint: completions or chats, and scores where the server tells them.

What a server can do is asked at the start and not assumed. Answers are kept in a file by what was asked, so that a
second run says the same without a server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from winnow.errors import InputError
from winnow.models.endpoint_answers import Answers, Refused, likeliest, text_of, tokens_of
from winnow.models.language_model import Capability, Sample, Scores, State, TokenMask, Tokens, Unsupported
from winnow.randomness import stream_seed

END = 256
"""The token that ends a text; those before it are bytes, those after it are the server's, as they are met."""
MOST = 20
"""Likeliest tokens that are asked for at a place, at most."""
UNSERVED = (400, 404, 405)
"""Refusals by a server that may do the same in another way."""


class EndpointLanguageModel:
    """A model that a server at `url` (it ends in /v1) calls `model`.

    key: name of the environment variable that holds the server's key, if it wants one. file: where answers are kept.
    To the server go texts: `encode` gives bytes, and the server's own tokens get numbers as they are met; those that
    are parts of a character are told as U+FFFD by most servers. Each sample is a request with a seed of its own. Where
    the server refuses completions, prompts go to its chat, each as the one message of a user. How many tokens a prompt
    has is known when the server has read it. Raises InputError for an endpoint that is absent or refuses, and for a
    prompt that fills the context; Unsupported for what it cannot do.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        file: Path | str | None = None,
        context_length: int = 4096,
        timeout: float = 60.0,
        attempts: int = 4,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"endpoint: the url is {url!r}; it begins with http:// or https://")
        if key is not None and not os.environ.get(key):
            raise InputError(f"endpoint: the environment has no {key}, which holds the server's key; set it")
        self.name, self.model, self.context_length, self.eos_id = f"endpoint {model}", model, context_length, END
        file = Path(file) if file else None
        self.answers = Answers(url.rstrip("/"), os.environ[key] if key else None, file, timeout, attempts)
        self.digest = sha256(f"{self.answers.url}\0{model}".encode()).hexdigest()
        self.words: list[bytes] = []
        self.vocab_size = END + 1
        """Bytes, the end, and the server's tokens that were met so far."""
        self.numbers: dict[bytes, int] = {}
        self.chat: dict[str, Any] | None = None
        """What chats are asked for beside their text; None where prompts are completed."""
        self.capabilities = self._probed()
        self.answers.keep_refusals()  # what was refused while all else was answered, this server does not do

    def encode(self, text: str) -> Tokens:
        """The bytes of a text."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes(int(token)) for token in ids).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for."""
        return bytes([token]) if token < END else b"" if token == END else self.words[token - END - 1]

    def score(self, texts: Sequence[str | Tokens], prefix: str | None = None, top: int = 0) -> list[Scores]:
        """Log-probabilities of the server's tokens of each text or its bytes; NaN for one that no token precedes.

        A token that begins in the prefix does not count to the text. top: up to MOST; where the server tells fewer
        likeliest tokens of a place, as of that without a token before it, the others are -1 and -inf.
        """
        if "score" not in self.capabilities:
            self._lacks("score")
        if not 0 <= top <= MOST:
            raise InputError(f"{self.name}: was asked for the {top} likeliest tokens; ask for 0 to {MOST}")
        whole = [text if isinstance(text, str) else self.decode(text.tolist()) for text in texts]
        return [self._scored(prefix or "", text, top) for text in whole]

    def _scored(self, prefix: str, text: str, top: int) -> Scores:
        told = self._choice(self._echo(prefix + text, max(top, 1)))["logprobs"]
        starts = np.array(told["text_offset"], np.int32)
        ends = np.append(starts[1:], len(prefix + text))
        own = (starts >= len(prefix)) & (starts < len(prefix + text))
        ids = self._numbers([word.encode() for word, kept in zip(told["tokens"], own, strict=True) if kept])
        logprobs = np.array([np.nan if each is None else each for each in told["token_logprobs"]], float)[own]
        offsets = np.stack([starts, np.minimum(ends, len(prefix + text))], 1)[own] - len(prefix)
        likely = self._likeliest(told, own, top) if top else (None, None)
        return Scores(ids, logprobs, offsets.astype(np.int32), *likely)

    def _likeliest(self, told: Mapping[str, Any], own: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers int64[t, top] and log-probabilities float32[t, top] of the likeliest tokens of a text's places."""
        places, most = likeliest(told, top)
        if most < top:
            raise InputError(f"{self.name}: tells {most} likeliest tokens where {top} are asked for; ask for fewer")
        ids = np.full((int(own.sum()), top), -1, np.int64)
        logprobs = np.full(ids.shape, -np.inf, np.float32)
        for row, place in enumerate(np.flatnonzero(own)):
            likely = places[place]
            ids[row, : len(likely)] = self._numbers([word.encode() for word, _ in likely])
            logprobs[row, : len(likely)] = [logprob for _, logprob in likely]
        return ids, logprobs

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
        """n texts after each prompt; the seed of text j of prompt i depends on seed, i and j alone.

        Where the server tells no tokens, they are the bytes of the text and their log-probabilities NaN.
        """
        if mask is not None:
            self._lacks("mask")
        if n < 1 or max_tokens < 1 or temperature < 0 or not 0 < top_p <= 1 or top_k:
            told = f"n {n}, max_tokens {max_tokens}, temperature {temperature}, top_p {top_p}, top_k {top_k}"
            raise InputError(f"{self.name}: cannot sample with {told}; an endpoint takes top_k 0, the rest as usual")
        body = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "stop": list(stop) or None}

        def drawn(i: int, j: int) -> Sample:
            own = stream_seed(seed, "sample", str(i), str(j)) % 2**31
            return self._drawn(body | _prompted(self.decode(prompts[i].tolist()), self.chat) | {"seed": own}, seed)

        return [[drawn(i, j) for j in range(n)] for i in range(len(prompts))]

    def _drawn(self, body: dict[str, Any], seed: int) -> Sample:
        choice = self._choice(body)
        text, (words, logprobs) = str(text_of(choice)), tokens_of(choice)
        finish = "stop" if choice.get("finish_reason") == "stop" else "length"
        ids = self._numbers(words) if words else self.encode(text)
        told = logprobs if words else np.full(len(ids), np.nan)
        return Sample(text, ids, told, finish, seed)  # type: ignore[arg-type]

    def _choice(self, body: dict[str, Any]) -> dict[str, Any]:
        """The one completion of a request."""
        answer = self.answers.ask({"model": self.model, **body})
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not choices or text_of(choices[0]) is None:
            raise InputError(f"{self.answers.url}: answers with no completion; name a server that is OpenAI-compatible")
        used = (answer.get("usage") or {}).get("prompt_tokens") or 0
        if used >= self.context_length:  # of a longer one, some servers tell what they read of it
            told = f"a prompt of {used} tokens leaves no room in a context of {self.context_length}"
            raise InputError(f"{self.name}: {told}; shorten the text, or raise `context` if the server reads more")
        return dict(choices[0])

    @staticmethod
    def _echo(text: str, top: int = 1) -> dict[str, Any]:
        return {"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": top}

    def _numbers(self, words: Sequence[bytes]) -> Tokens:
        """The numbers of tokens of the server."""
        for piece in words:
            if piece not in self.numbers:
                self.numbers[piece] = self.vocab_size
                self.words.append(piece)
                self.vocab_size += 1
        return np.array([self.numbers[piece] for piece in words], np.int64)

    def _probed(self) -> frozenset[str]:
        """What the server can do: echo a prompt with log-probabilities, chat, and draw the same again from a seed."""
        found: set[str] = {"sample", "batch"}
        try:
            told = self._choice(self._echo("one two three")).get("logprobs") or {}
        except Refused:
            told = {}
        if len(told.get("token_logprobs") or []) > 1 and "".join(told["tokens"]).startswith("one two three"):
            found.add("score")
        try:
            seeded = self._repeats()
        except Refused as refusal:
            if refusal.code not in UNSERVED:
                raise
            try:
                self.chat = self._chats()
            except Refused as other:
                raise Refused(f"{refusal}; {other}", other.code) from other
            found, seeded = {"sample", "batch", "chat"}, self._repeats()
        else:
            with suppress(InputError):  # whatever ails a chat that is not needed
                self._chats()
                found.add("chat")
        return frozenset(found | ({"seeded"} if seeded else set()))

    def _chats(self) -> dict[str, Any]:
        """What the server's chat may be asked for: log-probabilities, unless it refuses a request for them."""
        telling = {"logprobs": True}
        try:
            self._choice(_drawing(telling, 1))
        except Refused as refusal:
            if refusal.code != 400:  # as of a server without chat
                raise
            self._choice(_drawing({}, 1))
            return {}
        return telling

    def _repeats(self) -> bool:
        """Whether a seed draws the same text again; one without letters tells nothing."""
        first, second = (text_of(self._choice(_drawing(self.chat, time))) for time in (1, 2))
        return first == second != ""

    def _lacks(self, capability: Capability) -> NoReturn:
        raise Unsupported(f"{self.name}: cannot {capability!r}; use a model of another back end")

    def start(self, prompts: Sequence[Tokens]) -> State:
        """A server keeps no state that could be extended: raises Unsupported."""
        self._lacks("state")

    def next(self, state: Any) -> np.ndarray:
        """A server tells no chances of all tokens: raises Unsupported."""
        self._lacks("next")

    def extend(self, state: Any, tokens: Tokens) -> State:
        """As `start`."""
        self._lacks("state")

    def select(self, state: Any, rows: Tokens) -> State:
        """As `start`."""
        self._lacks("state")

    def hidden(self, texts: Sequence[str]) -> list[np.ndarray]:
        """A server tells no hidden states: raises Unsupported."""
        self._lacks("hidden")


def _prompted(text: str, chat: dict[str, Any] | None) -> dict[str, Any]:
    """A request that goes on from a text; or that answers it, with what a chat is asked for besides."""
    if chat is None:
        return {"prompt": text, "logprobs": 1}
    return {"messages": [{"role": "user", "content": text}], **chat}


def _drawing(chat: dict[str, Any] | None, time: int) -> dict[str, Any]:
    """A request for a few tokens; at another time it is another request, of the same seed."""
    return _prompted("one", chat) | {"max_tokens": 8, "temperature": 1.0, "seed": 1, "user": f"probe {time}"}
