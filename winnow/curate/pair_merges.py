"""Vocabularies that grow by merging two neighbouring pieces at a time: BPE and both forms of WordPiece.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016; Schuster and
Nakajima, "Japanese and Korean Voice Search", ICASSP 2012.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numba
import numpy as np

from winnow.curate.subword_lattice import BYTES, Words
from winnow.errors import InputError

Score = Literal["count", "gain", "ratio"]
SCORES: tuple[Score, ...] = ("count", "gain", "ratio")


class Merges(NamedTuple):
    """Pieces in the order in which they were found, and what each was merged from."""

    pieces: list[bytes]
    """The 256 bytes, then one for each merge."""
    rules: np.ndarray
    """int64[merges, 3]: the numbers of two pieces and of the one that they become, in the order of the merges."""


def train_merges(words: Words, size: int, score: Score = "count") -> Merges:
    """A vocabulary of `size` pieces, 256 bytes among them, that merges the pair of the highest score each time.

    score, of a pair that stands n_ab times beside pieces that stand n_a and n_b times among N: count is n_ab, as BPE
    has it; gain is n_ab log(n_ab N / (n_a n_b)), by which the likelihood rises, as WordPiece was published; ratio is
    n_ab / (n_a n_b), as it is commonly shipped. Of equal scores the pair of the lowest numbers counts. Raises
    InputError for a size below 256, and for one that the words are too short for.
    """
    if size < BYTES:
        raise InputError(f"size: is {size}; give {BYTES} or more, one for each byte")
    symbols, weights = _laid_out(words)
    number = {bytes([b]): b for b in range(BYTES)}
    pieces, rules = list(number), []
    counts = np.zeros((size, size), np.int64)
    while len(number) < size:
        n = len(number)
        a, b = _best_pair(symbols, weights, counts[:n, :n], SCORES.index(score))
        if a < 0:
            raise InputError(f"size: is {size}, and the words have no more than {n} pieces; lower it")
        # Two pairs may spell the same bytes: the second one becomes the piece of the first.
        merged = number.setdefault(pieces[a] + pieces[b], n)
        pieces += [pieces[a] + pieces[b]] * (merged == n)
        rules.append((a, b, merged))
        symbols, weights = _merge(symbols, weights, a, b, merged)
    return Merges(pieces, np.array(rules, np.int64).reshape(len(rules), 3))


def apply_merges(words: Words, rules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pieces int64[tokens] of all words after the merges, in their order, and ends int64[words + 1]."""
    symbols, weights = _laid_out(words)
    for a, b, merged in rules:
        symbols, weights = _merge(symbols, weights, a, b, merged)
    ends = np.flatnonzero(symbols < 0)
    return symbols[symbols >= 0], np.concatenate([[0], ends - np.arange(len(ends))])


def _laid_out(words: Words) -> tuple[np.ndarray, np.ndarray]:
    """Symbols int64 with -1 behind each word, and the count of the word of each."""
    symbols = np.insert(words.values.astype(np.int64), words.ends[1:], -1)
    return symbols, np.repeat(words.counts, np.diff(words.ends) + 1)


@numba.njit(cache=True)
def _best_pair(symbols: np.ndarray, weights: np.ndarray, counts: np.ndarray, score: int) -> tuple[int, int]:
    """The pair to merge, or -1 twice; counts, 0 for every pair before and after, serve while it looks."""
    single, total = np.zeros(len(counts), np.int64), 0
    there, pairs = np.empty((len(symbols), 2), np.int64), 0
    for i in range(len(symbols)):
        if symbols[i] >= 0:
            single[symbols[i]] += weights[i]
            total += weights[i]
            if symbols[i + 1] >= 0:
                if counts[symbols[i], symbols[i + 1]] == 0:
                    there[pairs] = symbols[i], symbols[i + 1]
                    pairs += 1
                counts[symbols[i], symbols[i + 1]] += weights[i]
    top, a, b = -np.inf, -1, -1
    # Far fewer than all that could be.
    for left, right in there[:pairs]:
        n = counts[left, right]
        counts[left, right] = 0
        value = float(n)
        if score > 0:
            expected = float(single[left]) * float(single[right])
            value = n * np.log(n * float(total) / expected) if score == 1 else n / expected
        if value > top or (value == top and (left, right) < (a, b)):
            top, a, b = value, left, right
    return a, b


@numba.njit(cache=True)
def _merge(symbols: np.ndarray, weights: np.ndarray, a: int, b: int, merged: int) -> tuple[np.ndarray, np.ndarray]:
    to, at = 0, 0
    while at < len(symbols):
        symbol = symbols[at]
        weight = weights[at]
        if symbol == a and symbols[at + 1] == b:  # -1 stands behind the last
            symbol = merged
            at += 1
        symbols[to], weights[to] = symbol, weight
        to += 1
        at += 1
    return symbols[:to], weights[:to]
