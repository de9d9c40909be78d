"""Requests to an OpenAI-compatible server, each made once, and what its answers hold.

The formats are those of "Completions" and "Chat completions" in OpenAI's API reference.
"""

from __future__ import annotations

import fcntl
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from winnow.errors import InputError

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second attempt, doubled before each later one, and the longest that is waited."""
AGAIN = (408, 409, 425, 429)
"""Answers below 500 after which another attempt may succeed."""
UNTOLD = -9999.0
"""What a chat says of a drawn token that is so unlikely that its log-probability is not told."""


class Refused(InputError):
    """A server does not do what it is asked for; `code` is its HTTP status."""

    def __init__(self, told: str, code: int) -> None:
        super().__init__(told)
        self.code = code


class Answers:
    """Requests to one server, each made once: its answer is kept in a file, in which it is found again.

    timeout: seconds for each attempt. Raises InputError where no attempt succeeds, Refused where the server refuses.
    """

    def __init__(self, url: str, key: str | None, file: Path | None, timeout: float, attempts: int) -> None:
        self.url, self.key, self.file, self.timeout, self.attempts = url, key, file, timeout, attempts
        self.kept: dict[str, Any] = {}
        self.refusals: dict[str, Any] = {}
        """What the server refused since refusals were kept, by request."""
        self.made = 0
        """Requests that a server answered."""
        if file is not None and file.exists():
            self.kept = dict(filter(None, map(_kept, file.read_text().splitlines())))

    def ask(self, body: Mapping[str, Any]) -> Any:
        """The server's answer to a request for a completion, or for a chat where the body has messages."""
        digest = sha256(json.dumps([self.url, body], sort_keys=True).encode()).hexdigest()
        if digest not in self.kept:
            path = "chat/completions" if "messages" in body else "completions"
            try:
                answer = self._answered(path, json.dumps(body, sort_keys=True).encode(), digest)
            except Refused as refusal:
                self.refusals[digest] = {"refused": str(refusal), "code": refusal.code}
                raise
            self.refusals.pop(digest, None)
            self.made += 1
            self._keep(digest, answer)
        answer = self.kept[digest]
        if isinstance(answer, dict) and "refused" in answer:
            raise Refused(answer["refused"], answer["code"])
        return answer

    def keep_refusals(self) -> None:
        """Keep what was refused so far as answers are kept.

        Only one who knows that a refusal is what the server cannot do, and no fault that passes, may ask for this.
        """
        for digest, refusal in self.refusals.items():
            self._keep(digest, refusal)
        self.refusals = {}

    def _keep(self, digest: str, answer: Any) -> None:
        self.kept[digest] = answer
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps([digest, answer]) + "\n")

    def _answered(self, path: str, body: bytes, digest: str) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url}/{path}", body, headers)
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
                    told = f"{request.full_url}: refuses request {digest[:12]} ({failure})"
                    raise Refused(told, error.code) from error
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


def text_of(choice: Any) -> str | None:
    """The text of a choice of a completion or a chat; None where it has none.

    A chat's content is null where the model wrote none, as where all it wrote was its reasoning: an empty text.
    """
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    text = choice.get("text") if message is None else isinstance(message, dict) and (message.get("content") or "")
    return text if isinstance(text, str) else None


def tokens_of(choice: Mapping[str, Any]) -> tuple[list[bytes], np.ndarray]:
    """The tokens of a drawn text and their log-probabilities float64[t] [nats]; none where the server tells none."""
    told = choice.get("logprobs") or {}
    if each := told.get("content"):
        words = [token["token"].encode() if token.get("bytes") is None else bytes(token["bytes"]) for token in each]
        logprobs = np.array([token["logprob"] for token in each], float)
        return words, np.where(logprobs == UNTOLD, np.nan, logprobs)
    words = [word.encode() for word in told.get("tokens") or []]
    return words, np.array(told["token_logprobs"] if words else [], float)


def likeliest(told: Mapping[str, Any], top: int) -> tuple[list[list[tuple[str, float]]], int]:
    """The `top` likeliest tokens in the place of each that was echoed, likeliest first, and how many a server tells.

    told: log-probabilities of an echo. A place of which nothing is told has none, and one has fewer than the server
    tells where several tokens are the same text; so are parts of characters, U+FFFD, and places with them do not count.
    """
    places = told.get("top_logprobs") or [None] * len(told["tokens"])
    ranked = [sorted((place or {}).items(), key=lambda likely: -likely[1]) for place in places]
    counts = [
        # The token that is there is told besides the likeliest, so where it comes last it may not be one of them.
        len(place) - (len(place) > 1 and place[-1][0] == token)
        for place, token in zip(ranked, told["tokens"], strict=True)
        if place and not any("\ufffd" in word for word, _ in place)
    ]
    return [place[:top] for place in ranked], max(counts, default=top if any(ranked) else 0)
