"""Texts in an order of one's own without holding them all: each is written to its place on disk, runs are read back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

ROWS = 1 << 16


class OrderedTexts:
    """A file with room for texts, in the order of their places."""

    def __init__(self, path: Path, rooms: np.ndarray) -> None:
        """rooms: int64[texts], of each place the bytes that its text takes at most."""
        self.starts = np.concatenate([[0], np.cumsum(rooms)]).astype(np.int64)
        self.sizes = np.zeros(len(rooms), np.int64)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def close(self) -> None:
        """End the use of the file."""
        os.close(self.file)

    def write(self, places: Iterable[int], texts: Iterable[str]) -> None:
        """Put texts at their places. Raises ValueError for a text that needs more room than there is."""
        for place, text in zip(places, texts, strict=True):
            content = text.encode()
            if len(content) > self.starts[place + 1] - self.starts[place]:
                raise ValueError(f"place {place}: has no room for {len(content)} bytes")
            _write_all(self.file, content, int(self.starts[place]))
            self.sizes[place] = len(content)

    def read(self, first: int, last: int) -> list[str]:
        """The texts of places first to last - 1."""
        start = int(self.starts[first])
        content = _read_all(self.file, int(self.starts[last]) - start, start)
        at = self.starts[first:last] - start
        ends = at + self.sizes[first:last]
        return [content[a:b].decode() for a, b in zip(at.tolist(), ends.tolist(), strict=True)]

    def runs(self, first: int, last: int, limit: int) -> Iterator[tuple[int, int]]:
        """Runs of places that lie between these two, each of one text, or of texts with `limit` bytes of room at most.

        No run has more than 65,536 texts.
        """
        while first < last:
            end = int(np.searchsorted(self.starts, self.starts[first] + limit, side="right")) - 1
            end = min(max(end, first + 1), last, first + ROWS)
            yield first, end
            first = end


def _write_all(file: int, content: bytes, at: int) -> None:
    done = 0
    while done < len(content):  # a call may write less than it is given
        done += os.pwrite(file, content[done:], at + done)


def _read_all(file: int, size: int, at: int) -> bytes:
    parts, done = [], 0
    while done < size and (part := os.pread(file, size - done, at + done)):
        parts.append(part)
        done += len(part)
    return b"".join(parts)
