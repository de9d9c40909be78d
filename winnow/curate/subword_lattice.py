"""Words as lattices of the pieces they can be cut into, the best cut of each, and expected counts over all cuts.

Viterbi, "Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding Algorithm", IEEE Transactions on
Information Theory, 1967; Baum, Petrie, Soules and Weiss, "A Maximization Technique Occurring in the Statistical
Analysis of Probabilistic Functions of Markov Chains", Annals of Mathematical Statistics, 1970; for sub-words as in
Kudo, "Subword Regularization", ACL 2018.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from winnow.errors import InputError

WORD = re.compile(r"[^\W\d]\w*|\d+|\s+|[^\w\s]+")
BYTES = 256


def words_of(content: bytes) -> list[bytes]:
    """Identifiers, numbers, runs of white space and of symbols; joined they are the content, whatever its bytes."""
    found = WORD.findall(content.decode("utf-8", "surrogateescape"))
    return [word.encode("utf-8", "surrogateescape") for word in found]


def word_counts(contents: Iterable[bytes]) -> dict[bytes, int]:
    """How often each word stands in the contents, in the order of the words' bytes."""
    counts: Counter[bytes] = Counter()
    for content in contents:
        counts.update(words_of(content))
    return dict(sorted(counts.items()))


@dataclass(frozen=True)
class Words:
    """Words laid end to end."""

    values: np.ndarray
    """uint8[bytes]."""
    ends: np.ndarray
    """int64[words + 1]: word w is values[ends[w]:ends[w + 1]]."""
    counts: np.ndarray
    """int64[words]: how often each stands in the corpus."""

    @property
    def size(self) -> int:
        """Bytes of the corpus, each word as often as it stands there."""
        return int(np.diff(self.ends) @ self.counts)


def pack(words: Sequence[bytes] | Mapping[bytes, int]) -> Words:
    """Words of a sequence, each once, or of a mapping to their counts. Raises InputError for an empty word."""
    counts = list(words.values()) if isinstance(words, Mapping) else [1] * len(words)
    lengths = [len(word) for word in words]
    if 0 in lengths:
        raise InputError("words: one is empty; leave it out")
    values = np.frombuffer(b"".join(words), np.uint8)
    return Words(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.array(counts, np.int64))


def substrings(words: Words, longest: int, least: int = 2) -> dict[bytes, int]:
    """Runs of 2 to `longest` bytes within words that stand there at least `least` times, with that number.

    Overlapping repeats count once: aaa holds aa one time.
    """
    last = np.repeat(words.ends[1:], np.diff(words.ends))
    weight = np.repeat(words.counts, np.diff(words.ends))
    at = np.arange(len(words.values))
    node = words.values.astype(np.int64)
    found = {}
    for length in range(2, longest + 1):
        inside = at + length <= last[at]
        at, node = at[inside], node[inside]
        if not len(at):
            break
        codes = node * BYTES + words.values[at + length - 1]
        _, first, node = np.unique(codes, return_index=True, return_inverse=True)
        counts = _apart(at, node, weight, length, len(first))
        frequent = counts[node] >= least  # what is rare has no frequent continuation
        for i in np.flatnonzero(counts >= least):
            start = at[first[i]]
            found[words.values[start : start + length].tobytes()] = int(counts[i])
        at, node = at[frequent], node[frequent]
    return found


@numba.njit(cache=True)
def _apart(at: np.ndarray, node: np.ndarray, weight: np.ndarray, length: int, nodes: int) -> np.ndarray:
    counts, free = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    for i in range(len(at)):
        if at[i] >= free[node[i]]:
            counts[node[i]] += weight[at[i]]
            free[node[i]] = at[i] + length
    return counts


@dataclass(frozen=True)
class Lattice:
    """All places where pieces stand in words: arcs, by where they start, the longest first."""

    words: Words
    pieces: int
    first: np.ndarray
    """int64[bytes + 1]: arcs first[i]:first[i + 1] start at byte i."""
    end: np.ndarray
    """int64[arcs]: the byte behind an arc."""
    piece: np.ndarray
    """int64[arcs]: which piece an arc is."""

    @cached_property
    def holders(self) -> tuple[np.ndarray, np.ndarray]:
        """Words in which each piece stands: words[ends[p]:ends[p + 1]] for piece p, ascending."""
        word = np.searchsorted(self.words.ends, self.end - 1, side="right") - 1
        codes = np.unique(self.piece * len(self.words.counts) + word)
        piece, word = np.divmod(codes, len(self.words.counts))
        return word, np.searchsorted(piece, np.arange(self.pieces + 1))

    def held_by(self, piece: int) -> np.ndarray:
        """int64: the words in which a piece stands."""
        words, ends = self.holders
        return words[ends[piece] : ends[piece + 1]]


def lattice(words: Words, pieces: Sequence[bytes]) -> Lattice:
    """The arcs of all pieces in all words; pieces are numbered by their place and must differ."""
    packed = pack(pieces)
    lengths = np.diff(packed.ends)
    last = np.repeat(words.ends[1:], np.diff(words.ends))
    at = np.arange(len(words.values))
    node, prefix = np.zeros(len(at), np.int64), np.zeros(len(pieces), np.int64)
    starts, ends, ids = [], [], []
    for length in range(1, int(lengths.max()) + 1):
        # A trie, level by level: a node is a prefix of a piece, known by its parent and its last byte.
        longer = np.flatnonzero(lengths >= length)
        codes = prefix[longer] * BYTES + packed.values[packed.ends[longer] + length - 1]
        known, prefix[longer] = np.unique(codes, return_inverse=True)
        whole = np.full(len(known), -1, np.int64)
        ending = np.flatnonzero(lengths == length)
        whole[prefix[ending]] = ending
        inside = at + length <= last[at]
        at, node = at[inside], node[inside]
        codes = node * BYTES + words.values[at + length - 1]
        where = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        met = known[where] == codes
        at, node = at[met], where[met]
        is_piece = whole[node] >= 0
        starts.append(at[is_piece])
        ends.append(at[is_piece] + length)
        ids.append(whole[node[is_piece]])
    start, end, piece = np.concatenate(starts), np.concatenate(ends), np.concatenate(ids)
    order = np.lexsort((-end, start))
    first = np.searchsorted(start[order], np.arange(len(words.values) + 1))
    return Lattice(words, len(pieces), first, end[order], piece[order])


def best_cuts(arcs: Lattice, log_p: np.ndarray, which: np.ndarray | None = None, proper: bool = False) -> np.ndarray:
    """float64: the log probability of the most probable cut of each word, -inf where it has none.

    log_p: float64[pieces], -inf for those that must not be used. which: the words, all by default. proper: in two
    pieces at least.
    """
    which = np.arange(len(arcs.words.counts)) if which is None else which
    choice = np.empty(len(arcs.first) - 1, np.int64)
    return _cut(which, arcs.words.ends, arcs.first, arcs.end, arcs.piece, log_p, choice, proper)


def segment(arcs: Lattice, log_p: np.ndarray) -> np.ndarray:
    """Choice int64[bytes]: at the start of each piece of the most probable cut its arc; elsewhere it means nothing.

    Of equally probable cuts it is the one of fewest pieces, then the one whose first pieces are the longest. Raises
    InputError where a word cannot be cut.
    """
    choice = np.empty(len(arcs.first) - 1, np.int64)
    which = np.arange(len(arcs.words.counts))
    score = _cut(which, arcs.words.ends, arcs.first, arcs.end, arcs.piece, log_p, choice, False)
    if np.isneginf(score).any():
        w = int(np.flatnonzero(np.isneginf(score))[0])
        word = arcs.words.values[arcs.words.ends[w] : arcs.words.ends[w + 1]].tobytes()
        raise InputError(f"pieces: none of their sequences is {word[:40]!r}; add the bytes it is made of")
    return choice


@numba.njit(cache=True)
def _cut(
    which: np.ndarray,
    ends: np.ndarray,
    first: np.ndarray,
    end: np.ndarray,
    piece: np.ndarray,
    log_p: np.ndarray,
    choice: np.ndarray,
    proper: bool,
) -> np.ndarray:
    best = np.empty(len(which))
    longest = 0
    for w in which:
        longest = max(longest, ends[w + 1] - ends[w])
    score, fewest = np.empty(longest + 1), np.empty(longest + 1, np.int64)
    for row in range(len(which)):
        begin, stop = ends[which[row]], ends[which[row] + 1]
        score[stop - begin], fewest[stop - begin] = 0.0, 0
        for at in range(stop - 1, begin - 1, -1):  # from the right, so that the first piece is chosen last
            top, few = -np.inf, 0
            for arc in range(first[at], first[at + 1]):
                to = end[arc] - begin
                if proper and at == begin and end[arc] == stop:
                    continue
                value = log_p[piece[arc]] + score[to]
                if value > top or (value == top and value > -np.inf and fewest[to] + 1 < few):
                    top, few = value, fewest[to] + 1
                    choice[at] = arc
            score[at - begin], fewest[at - begin] = top, few
        best[row] = score[0]
    return best


def pieces_of(arcs: Lattice, choice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pieces int64[tokens] of all words as `segment` chose them, and ends int64[words + 1]."""
    return _walk(arcs.words.ends, arcs.end, arcs.piece, choice)


@numba.njit(cache=True)
def _walk(ends: np.ndarray, end: np.ndarray, piece: np.ndarray, choice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tokens, stops, n = np.empty(len(choice), np.int64), np.zeros(len(ends), np.int64), 0
    for w in range(len(ends) - 1):
        at = ends[w]
        while at < ends[w + 1]:
            tokens[n] = piece[choice[at]]
            at = end[choice[at]]
            n += 1
        stops[w + 1] = n
    return tokens[:n], stops


def piece_counts(arcs: Lattice, choice: np.ndarray) -> np.ndarray:
    """float64[pieces]: how often each is used, words counted as often as they stand in the corpus."""
    tokens, ends = pieces_of(arcs, choice)
    weights = np.repeat(arcs.words.counts, np.diff(ends))
    return np.bincount(tokens, weights, arcs.pieces)


def expected_counts(arcs: Lattice, log_p: np.ndarray) -> tuple[np.ndarray, float]:
    """float64[pieces], how often each is used on average over all cuts, and the log likelihood summed over cuts."""
    return _expect(arcs.words.ends, arcs.words.counts, arcs.first, arcs.end, arcs.piece, log_p)


@numba.njit(cache=True)
def _expect(
    ends: np.ndarray,
    weights: np.ndarray,
    first: np.ndarray,
    end: np.ndarray,
    piece: np.ndarray,
    log_p: np.ndarray,
) -> tuple[np.ndarray, float]:
    counts, total = np.zeros(len(log_p)), 0.0
    for w in range(len(ends) - 1):
        begin, stop = ends[w], ends[w + 1]
        after = np.full(stop - begin + 1, -np.inf)
        after[stop - begin] = 0.0
        for at in range(stop - 1, begin - 1, -1):
            for arc in range(first[at], first[at + 1]):
                after[at - begin] = np.logaddexp(after[at - begin], log_p[piece[arc]] + after[end[arc] - begin])
        before = np.full(stop - begin + 1, -np.inf)
        before[0] = 0.0
        for at in range(begin, stop):
            for arc in range(first[at], first[at + 1]):
                to = end[arc] - begin
                along = before[at - begin] + log_p[piece[arc]]
                before[to] = np.logaddexp(before[to], along)
                if along + after[to] > -np.inf:
                    counts[piece[arc]] += weights[w] * np.exp(along + after[to] - after[0])
        total += weights[w] * after[0]
    return counts, total
