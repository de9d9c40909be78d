"""A language model behind an OpenAI-compatible endpoint: completions, and scores where the server tells them.

What a server can do is asked at the start and not assumed. Answers are kept in a file by what was asked, so that a
second run says the same without a server.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from winnow.errors import InputError
from winnow.models.language_model import Capability, Sample, Scores, State, TokenMask, Tokens, Unsupported
from winnow.randomness import stream_seed

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second attempt, doubled before each later one, and the longest that is waited."""
AGAIN = (408, 409, 425, 429)
"""Answers below 500 after which another attempt may succeed."""
END = 256
"""The token that ends a text; those before it are bytes, those after it are the server's, as they are met."""


class Refused(InputError):
    """A server does not do what it is asked for."""


class Answers:
    """Requests to one server, each made once: its answer is kept in a file, in which it is found again.

    timeout: seconds for each attempt. Raises InputError where no attempt succeeds, and where the server refuses.
    """

    def __init__(self, url: str, key: str | None, file: Path | None, timeout: float, attempts: int) -> None:
        self.url, self.key, self.file, self.timeout, self.attempts = url, key, file, timeout, attempts
        self.kept: dict[str, Any] = {}
        self.made = 0
        """Requests that a server answered."""
        if file is not None and file.exists():
            self.kept = dict(filter(None, map(_kept, file.read_text().splitlines())))

    def ask(self, body: Mapping[str, Any]) -> Any:
        """The server's answer to a completion request."""
        digest = sha256(json.dumps([self.url, body], sort_keys=True).encode()).hexdigest()
        if digest not in self.kept:
            self.kept[digest] = self._answered(json.dumps(body, sort_keys=True).encode(), digest)
            self.made += 1
            self._keep(digest)
        return self.kept[digest]

    def _keep(self, digest: str) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps([digest, self.kept[digest]]) + "\n")

    def _answered(self, body: bytes, digest: str) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url}/completions", body, headers)
        wait, failure = FIRST_WAIT, ""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(min(wait, LONGEST_WAIT))
            wait = FIRST_WAIT * 2**attempt
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                told = " ".join(error.read(300).decode("utf-8", "replace").split())
                failure = f"{error.code} {error.reason}: {told}"
                if error.code < 500 and error.code not in AGAIN:
                    raise Refused(f"{request.full_url}: refuses request {digest[:12]} ({failure})") from error
                asked = error.headers.get("Retry-After", "")
                wait = float(asked) if asked.isdigit() else wait
            except (OSError, ValueError) as error:
                failure = str(getattr(error, "reason", error)) or type(error).__name__
        told = f"no answer to request {digest[:12]} in {self.attempts} attempts ({failure})"
        raise InputError(f"{request.full_url}: {told}; start the server or correct the url")


def _kept(line: str) -> tuple[str, Any] | None:
    """Digest and answer of a line; None where writing it was cut off."""
    try:
        digest, answer = json.loads(line)
    except ValueError:
        return None
    return digest, answer


class EndpointLanguageModel:
    """A model that a server at `url` (it ends in /v1) calls `model`.

    key: name of the environment variable that holds the server's key, if it wants one. file: where answers are kept.
    To the server go texts: `encode` gives bytes, and the server's own tokens get numbers as they are met; those that
    are parts of a character are told as U+FFFD by most servers. Each sample is a request with a seed of its own. How
    many tokens a prompt has is known when the server has read it. Raises InputError for an endpoint that is absent or
    refuses, and for a prompt that fills the context; Unsupported for what it cannot do.
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
        self.capabilities = self._probed()

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

        A token that begins in the prefix does not count to the text.
        """
        if "score" not in self.capabilities:
            self._lacks("score")
        if top:
            raise InputError(f"{self.name}: was asked for the {top} likeliest tokens, which it does not number; give 0")
        whole = [text if isinstance(text, str) else self.decode(text.tolist()) for text in texts]
        return [self._scored(prefix or "", text) for text in whole]

    def _scored(self, prefix: str, text: str) -> Scores:
        told = self._choice(self._echo(prefix + text))["logprobs"]
        starts = np.array(told["text_offset"], np.int32)
        ends = np.append(starts[1:], len(prefix + text))
        own = (starts >= len(prefix)) & (starts < len(prefix + text))
        ids = np.array([self._number(word) for word, kept in zip(told["tokens"], own, strict=True) if kept], np.int64)
        logprobs = np.array([np.nan if each is None else each for each in told["token_logprobs"]], float)[own]
        offsets = np.stack([starts, np.minimum(ends, len(prefix + text))], 1)[own] - len(prefix)
        return Scores(ids, logprobs, offsets.astype(np.int32))

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
            return self._drawn(body | {"prompt": self.decode(prompts[i].tolist()), "seed": own}, seed)

        return [[drawn(i, j) for j in range(n)] for i in range(len(prompts))]

    def _drawn(self, body: dict[str, Any], seed: int) -> Sample:
        choice = self._choice(body | {"logprobs": 1})
        text, told = choice["text"], choice.get("logprobs")
        finish = "stop" if choice.get("finish_reason") == "stop" else "length"
        if not told or not told.get("tokens"):
            ids = self.encode(text)
            return Sample(text, ids, np.full(len(ids), np.nan), finish, seed)  # type: ignore[arg-type]
        ids = np.array([self._number(word) for word in told["tokens"]], np.int64)
        return Sample(text, ids, np.array(told["token_logprobs"], float), finish, seed)  # type: ignore[arg-type]

    def _choice(self, body: dict[str, Any]) -> dict[str, Any]:
        """The one completion of a request."""
        answer = self.answers.ask({"model": self.model, **body})
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not choices or not isinstance(choices[0], dict) or not isinstance(choices[0].get("text"), str):
            raise InputError(f"{self.answers.url}: answers with no completion; name a server that is OpenAI-compatible")
        used = (answer.get("usage") or {}).get("prompt_tokens") or 0
        if used >= self.context_length:  # of a longer one, some servers tell what they read of it
            told = f"a prompt of {used} tokens leaves no room in a context of {self.context_length}"
            raise InputError(f"{self.name}: {told}; shorten the text, or raise `context` if the server reads more")
        return dict(choices[0])

    @staticmethod
    def _echo(text: str) -> dict[str, Any]:
        return {"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}

    def _number(self, word: str) -> int:
        """The number of a token of the server."""
        piece = word.encode()
        if piece not in self.numbers:
            self.numbers[piece] = self.vocab_size
            self.words.append(piece)
            self.vocab_size += 1
        return self.numbers[piece]

    def _probed(self) -> frozenset[str]:
        """What the server can do: it may echo a prompt with log-probabilities, and draw the same again from a seed."""
        found: set[str] = {"sample", "batch"}
        try:
            told = self._choice(self._echo("one two three")).get("logprobs") or {}
        except Refused:
            told = {}
        if len(told.get("token_logprobs") or []) > 1 and "".join(told["tokens"]).startswith("one two three"):
            found.add("score")
        drawing = {"prompt": "one", "max_tokens": 8, "temperature": 1.0, "seed": 1, "logprobs": 1}
        first, second = (self._choice(drawing | {"user": f"probe {time}"})["text"] for time in (1, 2))
        return frozenset(found | ({"seeded"} if first == second else set()))

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
