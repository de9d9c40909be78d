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

import numba
import numpy as np

from winnow.curate.pair_merges import Score, apply_merges, train_merges
from winnow.curate.subword_lattice import (
    BYTES,
    Lattice,
    Words,
    _cut,
    best_cuts,
    expected_counts,
    lattice,
    pack,
    piece_counts,
    pieces_of,
    segment,
    substrings,
    words_of,
)
from winnow.errors import InputError

LARGEST = 1 << 16
UNUSED = 0.5
"""Count that an unused byte is taken to have while pieces are weighed, so that each can be spelled out."""
TOLERANCE = 1e-9
SINGLES = tuple(bytes([b]) for b in range(BYTES))


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


def likelihood(counts: np.ndarray) -> float:
    """J in nats: sum of n log(n / N) over pieces of counts n, N tokens in all."""
    used = counts[counts > 0]
    return float(used @ np.log(used / used.sum())) if len(used) else 0.0


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


def hard_em(arcs: Lattice, counts: np.ndarray, rounds: int) -> np.ndarray:
    """Counts float64[pieces] after rounds of cutting by the shares of counts and counting, until J stands still.

    The first counts may be guesses; at least one round is made.
    """
    reached = -np.inf
    for _ in range(rounds):
        found = piece_counts(arcs, segment(arcs, _log_shares(counts)))
        value = likelihood(found)
        if value <= reached + TOLERANCE * abs(value):
            break
        counts, reached = found, value
    return counts


def _log_shares(counts: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """Log shares, of bytes at least that of UNUSED; -inf for what is not allowed."""
    floored = counts.copy()
    floored[:BYTES] = np.maximum(floored[:BYTES], UNUSED)
    if allowed is not None:
        floored[~allowed] = 0
    with np.errstate(divide="ignore"):
        return np.log(floored / counts.sum())


def candidates(words: Words, longest: int, limit: int, more: Sequence[bytes] = ()) -> tuple[list[bytes], np.ndarray]:
    """All bytes, then `more` and the repeated substrings of the largest count * (length - 1), with their counts."""
    found = substrings(words, longest)
    ranked = sorted(found, key=lambda s: (-found[s] * (len(s) - 1), s))[:limit]
    pieces = [*SINGLES, *sorted({*ranked, *more} - set(SINGLES))]
    single = np.bincount(words.values, np.repeat(words.counts, np.diff(words.ends)), BYTES)
    return pieces, np.array([*single, *(found.get(piece, 1) for piece in pieces[BYTES:])], float)


def prune(
    arcs: Lattice, own: Lattice, counts: np.ndarray, size: int, share: float, rounds: int, soft: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Allowed bool[pieces], `size` of them, and counts: each turn the share of pieces goes whose loss is the least.

    own: the lattice of the pieces in themselves. The loss of a piece is n(s) (log p(s) - log p of its best cut into
    others). soft: counts are expected over all cuts between the turns, not those of the best.
    """
    allowed = np.ones(len(counts), bool)
    while allowed.sum() > size:
        for _ in range(rounds):
            log_p = _log_shares(counts, allowed)
            counts = expected_counts(arcs, log_p)[0] if soft else piece_counts(arcs, segment(arcs, log_p))
        loss = losses(own, counts, allowed)
        removable = np.flatnonzero(allowed[BYTES:]) + BYTES
        number = min(max(1, int(share * len(removable))), int(allowed.sum()) - size)
        allowed[removable[np.argsort(loss[removable], kind="stable")[:number]]] = False
    return allowed, piece_counts(arcs, segment(arcs, _log_shares(counts, allowed)))


def losses(own: Lattice, counts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """float64[pieces]: what J loses, about, where a piece is spelled out by others; 0 for one that is not used."""
    log_p = _log_shares(counts, allowed)
    which = np.flatnonzero(allowed & (counts > 0))
    which = which[which >= BYTES]
    loss = np.zeros(len(counts))
    loss[which] = counts[which] * (log_p[which] - best_cuts(own, log_p, which, proper=True))
    return loss


class Exchange:
    """A vocabulary within candidates, whose pieces are exchanged while J rises; J is recomputed exactly."""

    def __init__(self, arcs: Lattice, own: Lattice, allowed: np.ndarray, counts: np.ndarray, found: np.ndarray) -> None:
        """found: float64[pieces], how often each stands in the words, whatever the cuts."""
        self.arcs, self.own, self.allowed, self.found = arcs, own, allowed.copy(), found
        self.settle(counts)

    def settle(self, counts: np.ndarray) -> None:
        """Alternate cuts and counts until they agree."""
        counts = hard_em(self.arcs, np.where(self.allowed, counts, 0), 100)
        self.choice = segment(self.arcs, _log_shares(counts, self.allowed))
        self.counts = piece_counts(self.arcs, self.choice)
        self.value = likelihood(self.counts)

    def gains(self) -> tuple[np.ndarray, np.ndarray]:
        """Of pieces that are not in the vocabulary: what J would gain, about, and how often each fits between cuts."""
        words, arcs = self.arcs.words, self.arcs
        fits = _fits(words.ends, words.counts, arcs.first, arcs.end, arcs.piece, self.choice, arcs.pieces)
        which = np.flatnonzero(~self.allowed & (fits > 0))
        gain = np.zeros(len(fits))
        spelled = best_cuts(self.own, _log_shares(self.counts, self.allowed), which, proper=True)
        gain[which] = fits[which] * (np.log(fits[which] / self.counts.sum()) - spelled)
        return gain, fits

    def try_one(self, out: int, into: int, guess: float) -> bool:
        """Exchange two pieces if J rises; only words in which one of them stands are cut anew.

        guess: how often the new piece will be used, about; a second pass knows how often it was.
        """
        allowed = self.allowed.copy()
        allowed[out], allowed[into] = False, True
        counts, choice = self.counts.copy(), self.choice.copy()
        guessed = counts.copy()
        guessed[into] = guess
        touched = np.union1d(self.arcs.held_by(out), self.arcs.held_by(into))
        words, arcs = self.arcs.words, self.arcs
        for _ in range(2):
            log_p = _log_shares(guessed, allowed)
            self._count(touched, choice, counts, -1)
            _cut(touched, words.ends, arcs.first, arcs.end, arcs.piece, log_p, choice, False)
            self._count(touched, choice, counts, 1)
            guessed = counts
        value = likelihood(counts)
        if value <= self.value + TOLERANCE * abs(self.value):
            return False
        self.allowed, self.counts, self.choice, self.value = allowed, counts, choice, value
        return True

    def _count(self, which: np.ndarray, choice: np.ndarray, counts: np.ndarray, sign: int) -> None:
        words = self.arcs.words
        _add(which, words.ends, words.counts, self.arcs.end, self.arcs.piece, choice, counts, sign)

    def run(self, tries: int, width: int = 64) -> None:
        """Exchange the least useful pieces for the most useful of the others, `tries` times at most, and settle.

        The i-th of one rank goes for the i-th of the other, `width` of them at a time: guessed to be used as often as
        it fits between cuts, then as often as it stands there. Where neither helps, each goes for each until one does.
        """
        while tries > 0:
            loss, (gain, fits) = losses(self.own, self.counts, self.allowed), self.gains()
            inside, outside = np.flatnonzero(self.allowed[BYTES:]) + BYTES, np.flatnonzero(~self.allowed)
            inside = inside[np.argsort(loss[inside], kind="stable")][:width].tolist()
            outside = outside[np.argsort(-gain[outside], kind="stable")][:width].tolist()
            like = list(zip(inside, outside, strict=False))
            done = sum(self.try_one(out, into, fits[into]) for out, into in like[:tries])
            tries -= len(like)
            if not done:
                done = sum(self.try_one(out, into, self.found[into]) for out, into in like[: max(tries, 0)])
                tries -= len(like)
            if not done:
                ranks = sorted(np.ndindex(len(inside), len(outside)), key=lambda pair: (sum(pair), pair))
                ranks = ranks[: max(tries, 0)]
                tries -= len(ranks)
                done = any(self.try_one(inside[i], outside[j], self.found[outside[j]]) for i, j in ranks)
            if not done:
                break
            self.settle(self.counts)


@numba.njit(cache=True)
def _fits(
    ends: np.ndarray,
    weights: np.ndarray,
    first: np.ndarray,
    end: np.ndarray,
    piece: np.ndarray,
    choice: np.ndarray,
    pieces: int,
) -> np.ndarray:
    fits = np.zeros(pieces)
    border = np.zeros(len(choice) + 1, np.bool_)
    for w in range(len(ends) - 1):
        at = ends[w]
        while at < ends[w + 1]:
            border[at] = True
            at = end[choice[at]]
        border[at] = True
    for w in range(len(ends) - 1):
        for at in range(ends[w], ends[w + 1]):
            if border[at]:
                for arc in range(first[at], first[at + 1]):
                    if border[end[arc]]:
                        fits[piece[arc]] += weights[w]
    return fits


@numba.njit(cache=True)
def _add(
    which: np.ndarray,
    ends: np.ndarray,
    weights: np.ndarray,
    end: np.ndarray,
    piece: np.ndarray,
    choice: np.ndarray,
    counts: np.ndarray,
    sign: int,
) -> None:
    for w in which:
        at = ends[w]
        while at < ends[w + 1]:
            counts[piece[choice[at]]] += sign * weights[w]
            at = end[choice[at]]


def train_swe(
    words: Words,
    size: int,
    *,
    longest: int = 16,
    share: float = 0.2,
    rounds: int = 2,
    tries: int = 4000,
    limit: int = 30_000,
    rivals: Sequence[Subwords] = (),
) -> Subwords:
    """The vocabulary of `size` pieces of the highest J that was found; its J is at least that of each rival.

    words: with their counts. longest: bytes of a piece. share, rounds: of `prune`. tries: exchanges that are tried.
    limit: substrings that are candidates, beside the pieces of the rivals. rivals: vocabularies of the same size, which
    are refitted as this one. Raises InputError for a size outside 256 to 65,536, no words, and too few substrings.
    """
    pieces, found = _candidates(words, size, longest, limit, [p for rival in rivals for p in rival.pieces])
    arcs, own = lattice(words, pieces), lattice(pack(pieces), pieces)
    allowed, counts = prune(arcs, own, found, size, share, rounds)
    search = Exchange(arcs, own, allowed, counts, found)
    search.run(tries)
    best = Subwords(tuple(np.array(pieces, object)[search.allowed]), search.counts[search.allowed])
    refitted = [refit(words, rival) for rival in rivals]
    return max([best, *refitted], key=lambda subwords: likelihood(subwords.counts))


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
