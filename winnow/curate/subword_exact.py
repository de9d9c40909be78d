"""The optimal sub-word vocabulary of a few short words, proved by branch and bound, to hold the search against.

The objective is that of F. Li, arXiv:2410.18441, 2024, as `winnow.curate.subword` states it; the solver is ours.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

from winnow.curate.subword_lattice import BYTES
from winnow.errors import InputError

SLACK = 1e-12


class Exact(NamedTuple):
    """What a search over all vocabularies and all cuts found."""

    value: float
    """J in nats."""
    cuts: dict[bytes, tuple[bytes, ...]]
    """The pieces of each word."""
    proved: bool
    """Whether nothing better exists; otherwise the search ran out of steps."""


def all_cuts(word: bytes) -> list[tuple[bytes, ...]]:
    """All ways to cut a word into pieces, of which there are 2^(n - 1) for n bytes; the fewest pieces first."""
    borders = range(1, len(word))
    found = []
    for mask in range(1 << len(borders)):
        at = [0, *(border for i, border in enumerate(borders) if mask >> i & 1), len(word)]
        found.append(tuple(word[a:b] for a, b in zip(at, at[1:], strict=False)))
    return sorted(found, key=lambda cut: (len(cut), cut))


def exact_swe(counts: dict[bytes, int], size: int, limit: int = 1_000_000) -> Exact:
    """The highest J = sum of n log(n / N) over cuts of the words that use at most size - 256 different longer pieces.

    counts: of words, few and short: the cuts of n bytes are 2^(n - 1). limit: cuts of a word that are tried in all.
    Words are cut one after another, the heaviest first. The bound of a partial choice is the J of its own tokens: J is
    convex in the counts and scales with them, so that of a sum is at most the sum, and words to come add at most 0.
    Raises InputError for a size below 256 and a limit that is not above the number of words.
    """
    if size < BYTES or limit <= len(counts):
        raise InputError(f"size: is {size}, limit {limit}; give {BYTES} and {len(counts) + 1}, or more")
    words = sorted(counts, key=lambda word: (-counts[word] * len(word), word))
    cuts = [all_cuts(word) for word in words]
    search = _Search([counts[word] for word in words], cuts, size - BYTES, limit)
    search.go(0, {}, 0, 0.0)
    return Exact(search.value, dict(zip(words, search.best, strict=True)), search.left > 0)


class _Search:
    def __init__(self, weights: list[int], cuts: list[list[tuple[bytes, ...]]], extra: int, limit: int) -> None:
        self.weights, self.cuts, self.extra, self.left = weights, cuts, extra, limit
        self.value = float("-inf")
        self.best: list[tuple[bytes, ...]] = []
        self.path: list[tuple[bytes, ...]] = []

    def go(self, depth: int, used: dict[bytes, int], tokens: int, inner: float) -> None:
        """used: piece -> count; inner: the sum of n log n over them."""
        if depth == len(self.cuts):
            # It is better than the best so far, or it would not have been tried.
            self.value, self.best = inner - (tokens * log(tokens) if tokens else 0.0), list(self.path)
            return
        for value, cut, after, total, within in self._options(depth, used, tokens, inner):
            if value <= self.value + SLACK or self.left <= 0:
                return  # options are sorted: no later one can be better
            self.left -= 1
            self.path.append(cut)
            self.go(depth + 1, after, total, within)
            self.path.pop()

    def _options(
        self, depth: int, used: dict[bytes, int], tokens: int, inner: float
    ) -> list[tuple[float, tuple[bytes, ...], dict[bytes, int], int, float]]:
        found = []
        for cut in self.cuts[depth]:
            after = dict(used)
            for piece in cut:
                after[piece] = after.get(piece, 0) + self.weights[depth]
            if sum(len(piece) > 1 for piece in after) > self.extra:
                continue
            total = tokens + len(cut) * self.weights[depth]
            within = inner + sum(after[p] * log(after[p]) - used.get(p, 0) * log(used.get(p, 1)) for p in set(cut))
            found.append((within - total * log(total), cut, after, total, within))
        return sorted(found, key=lambda option: -option[0])
