"""Sub-word encoding of the highest likelihood: vocabulary, probabilities and cuts that give words the shortest code.

F. Li, "The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI",
arXiv:2410.18441, 2024, asks for the optimum that BPE and WordPiece approach by greedy merges. Maximised is J, the sum
over words w and the pieces s that w is cut into of c(w) log p(s), where c(w) counts the word and p(s) is the share of s
among all tokens: cuts by Viterbi, shares by counting, the vocabulary by pruning (Kudo, "Subword Regularization", ACL
2018) and by exchanges of pieces that are judged exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from winnow.curate.pair_merges import Score, apply_merges, train_merges
from winnow.curate.subword_lattice import BYTES, Words, lattice, pack, pieces_of, segment, words_of
from winnow.curate.subword_search import SINGLES, Exchange, candidates, hard_em, likelihood, prune
from winnow.errors import InputError

LARGEST = 1 << 16


@dataclass(frozen=True)
class Subwords:
    """A vocabulary with the counts of its pieces in the words it was made for."""

    pieces: tuple[bytes, ...]
    """All 256 bytes, then longer pieces."""
    counts: np.ndarray
    """float64[pieces]."""
    rules: np.ndarray | None = None
    """Merges by which words are cut; None cuts them in the most probable way."""
    alpha: float = 0.1
    """Added to each count where a probability is asked for."""

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """float64[pieces], in nats: shares of the counts, to each of which alpha was added."""
        smooth = self.counts + self.alpha
        return np.log(smooth / smooth.sum())

    def cut(self, words: Words) -> tuple[np.ndarray, np.ndarray]:
        """Pieces int64[tokens] of all words, and ends int64[words + 1]."""
        if self.rules is not None:
            return apply_merges(words, self.rules)
        arcs = lattice(words, self.pieces)
        return pieces_of(arcs, segment(arcs, self.log_probabilities))

    def encode(self, content: bytes) -> np.ndarray:
        """Pieces int64[tokens] of any bytes; `decode` gives the bytes again."""
        found = words_of(content)
        if not found:
            return np.empty(0, np.int64)
        number = {word: i for i, word in enumerate(dict.fromkeys(found))}
        tokens, ends = self.cut(pack(list(number)))
        return np.concatenate([tokens[ends[i] : ends[i + 1]] for i in map(number.__getitem__, found)])

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        """The bytes of pieces."""
        return b"".join(self.pieces[i] for i in tokens)

    def save(self, path: Path | str) -> None:
        """Write as JSON, each byte as the character of its number."""
        told = {
            "alpha": self.alpha,
            "counts": self.counts.tolist(),
            "pieces": [piece.decode("latin-1") for piece in self.pieces],
            "rules": None if self.rules is None else self.rules.tolist(),
        }
        Path(path).write_text(json.dumps(told, ensure_ascii=True, sort_keys=True), encoding="utf-8")


def load_subwords(path: Path | str) -> Subwords:
    """A vocabulary that `save` wrote; an absent or damaged file is an InputError."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        pieces = tuple(piece.encode("latin-1") for piece in told["pieces"])
        counts = np.array(told["counts"], float)
        rules = None if told["rules"] is None else np.array(told["rules"], np.int64).reshape(-1, 3)
        if pieces[:BYTES] != SINGLES or len(pieces) != len(counts) or len(set(pieces)) != len(pieces):
            raise ValueError("its pieces are not whole")
        return Subwords(pieces, counts, rules, float(told["alpha"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no sub-word vocabulary ({error}); make it again") from error


def train_pairs(words: Words, size: int, score: Score = "count") -> Subwords:
    """BPE or WordPiece by `train_merges`, with the counts that its greedy cuts have."""
    merges = train_merges(words, size, score)
    tokens, ends = apply_merges(words, merges.rules)
    counts = np.bincount(tokens, np.repeat(words.counts, np.diff(ends)), size)
    return Subwords(tuple(merges.pieces), counts.astype(float), merges.rules)


def refit(words: Words, subwords: Subwords, rounds: int = 100) -> Subwords:
    """The same pieces with the most probable cuts in place of greedy ones, and counts to which they lead.

    J never falls, and is a local optimum where it ends: cuts and counts wait for one another.
    """
    arcs = lattice(words, subwords.pieces)
    counts = hard_em(arcs, subwords.counts, rounds)
    return replace(subwords, counts=counts, rules=None)


def search_swe(
    words: Words,
    size: int,
    *,
    longest: int = 16,
    share: float = 0.2,
    rounds: int = 2,
    tries: int = 4000,
    limit: int = 30_000,
    more: Sequence[bytes] = (),
) -> Subwords:
    """The vocabulary of `size` pieces of the highest J that pruning and exchanges find.

    words: with their counts. longest: bytes of a piece. share, rounds: of `prune`. tries: exchanges that are tried.
    limit: substrings that are candidates, beside `more`. Raises InputError for a size outside 256 to 65,536, no words,
    and too few substrings.
    """
    pieces, found = _candidates(words, size, longest, limit, more)
    arcs, own = lattice(words, pieces), lattice(pack(pieces), pieces)
    allowed, counts = prune(arcs, own, found, size, share, rounds)
    search = Exchange(arcs, own, allowed, counts, found)
    search.run(tries)
    return Subwords(tuple(np.array(pieces, object)[search.allowed]), search.counts[search.allowed])


def likeliest(found: Sequence[Subwords]) -> Subwords:
    """The first of those with the highest J."""
    return max(found, key=lambda subwords: likelihood(subwords.counts))


def train_unigram(
    words: Words, size: int, *, longest: int = 16, share: float = 0.2, rounds: int = 2, limit: int = 30_000
) -> Subwords:
    """The unigram language model of Kudo (2018): substrings pruned by expected counts, and the best cuts at the end."""
    pieces, found = _candidates(words, size, longest, limit, ())
    arcs, own = lattice(words, pieces), lattice(pack(pieces), pieces)
    allowed, counts = prune(arcs, own, found, size, share, rounds, soft=True)
    chosen = Subwords(tuple(np.array(pieces, object)[allowed]), counts[allowed])
    return refit(words, chosen)


def _candidates(
    words: Words, size: int, longest: int, limit: int, more: Sequence[bytes]
) -> tuple[list[bytes], np.ndarray]:
    if not BYTES <= size <= LARGEST:
        raise InputError(f"size: is {size}; give {BYTES} to {LARGEST} pieces, one for each byte among them")
    if not len(words.counts):
        raise InputError("words: there are none; give text to learn from")
    pieces, found = candidates(words, longest, limit, more)
    if len(pieces) < size:
        raise InputError(f"size: is {size}, and the words have no more than {len(pieces)} pieces; lower it")
    return pieces, found
