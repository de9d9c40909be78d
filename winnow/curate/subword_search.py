"""Vocabularies of sub-words of fixed size: counts that fit their cuts, candidates, pruning, and exchanges of pieces.

The steps of `winnow.curate.subword`, whose docstring names the paper and the objective.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from winnow.curate.subword_lattice import (
    BYTES,
    Lattice,
    Words,
    _cut,
    best_cuts,
    expected_counts,
    piece_counts,
    segment,
    substrings,
)

UNUSED = 0.5
"""Count that an unused byte is taken to have while pieces are weighed, so that each can be spelled out."""
TOLERANCE = 1e-9
SINGLES = tuple(bytes([b]) for b in range(BYTES))


def likelihood(counts: np.ndarray) -> float:
    """J in nats: sum of n log(n / N) over pieces of counts n, N tokens in all."""
    used = counts[counts > 0]
    return float(used @ np.log(used / used.sum())) if len(used) else 0.0


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
