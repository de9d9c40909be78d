"""J never falls, and losses are what they say."""

import numpy as np
import pytest

from tests.curate.identifiers import identifiers, small_words
from winnow.curate import subword_search
from winnow.curate.subword_lattice import BYTES, expected_counts, lattice, pack, piece_counts, segment
from winnow.curate.subword_search import (
    SINGLES,
    Exchange,
    _log_shares,
    candidates,
    hard_em,
    likelihood,
    losses,
    prune,
)

COUNTS = identifiers(0)
WORDS = pack(COUNTS)


def test_j_never_falls_over_rounds_and_exchanges():
    pieces, found = candidates(WORDS, 16, 2000)
    arcs, own = lattice(WORDS, pieces), lattice(pack(pieces), pieces)
    values = [likelihood(hard_em(arcs, found, rounds)) for rounds in (1, 2, 3, 10)]
    assert values == sorted(values)
    search = Exchange(arcs, own, *prune(arcs, own, found, 290, 0.2, 2), found)
    before, tried = search.value, 0
    for out, into in zip(np.flatnonzero(search.allowed)[BYTES:], np.argsort(-search.gains()[0]), strict=False):
        rose = search.try_one(out, into, search.found[into])
        assert (search.value > before + 1e-9) == rose or (not rose and search.value == before)
        assert search.value == pytest.approx(likelihood(search.counts))
        np.testing.assert_allclose(search.counts, piece_counts(arcs, search.choice))
        before, tried = search.value, tried + 1
    assert tried > 20 and search.allowed.sum() == 290
    assert not (search.counts[~search.allowed]).any()


def test_the_loss_of_a_piece_is_that_of_spelling_it_out():
    pieces = [*SINGLES, b"ab", b"abc"]
    own = lattice(pack(pieces), pieces)
    counts = np.zeros(258)
    counts[list(b"abc")], counts[256], counts[257] = (4, 3, 2), 5, 6
    log_p = np.log(counts[counts > 0] / 20)
    a, b, c, ab, abc = log_p
    loss = losses(own, counts, np.ones(258, bool))
    assert loss[256] == pytest.approx(5 * (ab - a - b))
    assert loss[257] == pytest.approx(6 * (abc - max(ab + c, a + b + c)))
    assert not loss[:256].any()


def test_j_is_the_sum_of_n_log_of_the_share():
    assert likelihood(np.array([3.0, 0.0, 1.0])) == pytest.approx(3 * np.log(3 / 4) + np.log(1 / 4))
    assert likelihood(np.zeros(3)) == 0.0


def test_a_share_is_of_all_tokens_that_of_a_byte_at_least_half_of_one_and_none_of_what_is_not_allowed():
    counts = np.zeros(259)
    counts[[97, 256, 257]] = 3, 4, 1
    allowed = np.ones(259, bool)
    allowed[257] = False
    found = _log_shares(counts, allowed)
    assert found[97] == pytest.approx(np.log(3 / 8)) and found[98] == pytest.approx(np.log(0.5 / 8))
    assert found[256] == pytest.approx(np.log(4 / 8)) and found[257] == found[258] == -np.inf
    assert _log_shares(counts)[257] == pytest.approx(np.log(1 / 8)) and counts[98] == 0


def test_a_round_cuts_by_the_shares_and_counts_and_rounds_end_where_j_stands_still():
    words = {b"abab": 3, b"aba": 2, b"ba": 4}
    pieces = [*SINGLES, b"ab", b"aba", b"ba", b"xy"]
    arcs = lattice(pack(words), pieces)
    guess = np.ones(260)
    # By equal shares the fewest pieces win, of which the first is the longest: aba b, aba, ba.
    once = hard_em(arcs, guess, 1)
    assert once[256:].tolist() == [0, 5, 4, 0] and once[ord("b")] == once[:256].sum() == 3
    counts, reached = guess, -np.inf
    for rounds in range(1, 9):
        found = piece_counts(arcs, segment(arcs, _log_shares(counts)))
        if likelihood(found) > reached + 1e-9:
            counts, reached = found, likelihood(found)
        assert np.array_equal(hard_em(arcs, guess, rounds), counts)


def test_candidates_are_bytes_the_heaviest_substrings_and_what_is_added():
    # Counts times bytes saved: abc 4 * 2, ab and bc 4 * 1; xy 5 * 1.
    words = pack({b"abc": 4, b"xy": 5})
    pieces, found = candidates(words, 3, 2)
    assert pieces == [*SINGLES, b"abc", b"xy"] and found[256:].tolist() == [4, 5]
    assert found[:256].sum() == 22 and found[ord("a")] == 4 and found[ord("x")] == 5
    # Of equals the first in order of bytes; what is added may be rare, known, or a byte.
    pieces, found = candidates(words, 3, 3, [b"qq", b"abc", b"z"])
    assert pieces == [*SINGLES, b"ab", b"abc", b"qq", b"xy"] and found[256:].tolist() == [4, 4, 1, 5]
    assert candidates(words, 2, 9)[0] == [*SINGLES, b"ab", b"bc", b"xy"]


@pytest.mark.parametrize("soft", [False, True])
def test_pruning_takes_the_pieces_of_least_loss_a_share_at_a_time(monkeypatch, soft):
    counts = small_words(2)
    pieces, found = candidates(pack(counts), 6, 40)
    arcs, own = lattice(pack(counts), pieces), lattice(pack(pieces), pieces)
    seen = []

    def spy(own, counts, allowed):
        seen.append((counts, allowed.copy(), losses(own, counts, allowed)))
        return seen[-1][-1]

    monkeypatch.setattr(subword_search, "losses", spy)
    longer = len(pieces) - BYTES
    assert longer > 10
    allowed, left = prune(arcs, own, found, BYTES + 2, 0.3, 2, **({"soft": True} if soft else {}))
    expected = [longer]
    while expected[-1] > 2:
        expected.append(max(expected[-1] - max(1, int(0.3 * expected[-1])), 2))
    assert [state.sum() - BYTES for _, state, _ in seen] == expected[:-1] and allowed.sum() == BYTES + 2
    assert allowed[:BYTES].all()
    before = found
    for (told, state, loss), after in zip(seen, [state for _, state, _ in seen[1:]] + [allowed], strict=True):
        for _ in range(2):
            log_p = _log_shares(before, state)
            before = expected_counts(arcs, log_p)[0] if soft else piece_counts(arcs, segment(arcs, log_p))
        assert np.array_equal(told, before)
        assert loss[state & ~after].max() <= loss[BYTES:][after[BYTES:]].min()
    assert np.array_equal(left, piece_counts(arcs, segment(arcs, _log_shares(before, allowed))))


def test_a_piece_that_is_not_used_is_no_loss_and_one_that_is_not_allowed_spells_none():
    pieces = [*SINGLES, b"ab", b"abc", b"bc"]
    own = lattice(pack(pieces), pieces)
    counts, allowed = np.zeros(259), np.ones(259, bool)
    counts[list(b"abc")], counts[256], counts[257] = (4, 3, 2), 5, 6
    allowed[256] = False
    a, b, c, abc = np.log(np.array([4, 3, 2, 6]) / 20)
    loss = losses(own, counts, allowed)
    assert loss[257] == pytest.approx(6 * (abc - a - b - c)) and loss[256] == loss[258] == 0


def small_search(words, inside, outside):
    pieces = [*SINGLES, *inside, *outside]
    arcs, own = lattice(pack(words), pieces), lattice(pack(pieces), pieces)
    found = np.array([sum(word.count(piece) * n for word, n in words.items()) for piece in pieces], float)
    allowed = np.arange(len(pieces)) < BYTES + len(inside)
    return Exchange(arcs, own, allowed, found, found), pieces


def test_a_gain_is_that_of_a_piece_wherever_it_fits_between_cuts():
    words = {b"abab": 3, b"abc": 2, b"ba": 1}
    search, pieces = small_search(words, [b"ab"], [b"abab", b"bc", b"ba", b"abc"])
    # ab ab, ab c, b a: cuts lie there.
    gain, fits = search.gains()
    assert fits[256:].tolist() == [8, 3, 0, 1, 2]
    counts = {b"ab": 8, b"c": 2, b"a": 1, b"b": 1}
    assert search.counts.sum() == 12 and all(search.counts[pieces.index(p)] == n for p, n in counts.items())
    p = {piece: np.log(n / 12) for piece, n in counts.items()}
    assert gain[257] == pytest.approx(3 * (np.log(3 / 12) - 2 * p[b"ab"]))
    assert gain[259] == pytest.approx(np.log(1 / 12) - p[b"b"] - p[b"a"])
    assert gain[260] == pytest.approx(2 * (np.log(2 / 12) - p[b"ab"] - p[b"c"]))
    assert not gain[:257].any() and gain[258] == 0


def test_an_exchange_that_raises_j_is_made_and_one_that_lowers_it_leaves_all_as_it_was():
    words = {b"ab": 8, b"cd": 2, b"ef": 3}
    search, pieces = small_search(words, [b"cd"], [b"ab", b"xy"])
    before = vars(search).copy() | {name: getattr(search, name).copy() for name in ("counts", "choice", "allowed")}
    assert not search.try_one(256, 258, 1.0)
    for name in ("counts", "choice", "allowed", "value"):
        assert np.array_equal(getattr(search, name), before[name])
    assert search.try_one(256, 257, 8.0)
    counts = {piece: n for piece, n in zip(pieces, search.counts, strict=True) if n}
    assert counts == {b"ab": 8, b"c": 2, b"d": 2, b"e": 3, b"f": 3}
    assert search.value == pytest.approx(likelihood(np.array([8.0, 2, 2, 3, 3])))
    assert np.flatnonzero(search.allowed[256:]).tolist() == [1]
    # Nothing is gained by going back.
    assert not search.try_one(257, 256, 2.0)


def test_exchanges_are_judged_by_the_cuts_that_follow_from_a_guess_and_then_from_what_came_of_it():
    rose, revised = 0, 0
    for seed in range(6):
        words = small_words(seed)
        pieces, _ = candidates(pack(words), 4, 12)
        inside, outside = pieces[256:259], pieces[259:]
        for i in range(3):
            for j in range(len(outside)):
                search, pieces = small_search(words, inside, outside)
                out, into, value = BYTES + i, BYTES + 3 + j, search.value
                allowed = search.allowed.copy()
                allowed[[out, into]] = False, True
                held = [pieces[out] in word or pieces[into] in word for word in words]
                anew = np.repeat(held, np.diff(search.arcs.words.ends))  # the other words stay as they are
                guessed, told = search.counts.copy(), []
                guessed[into] = 4 * search.found[into]  # too high, so that cuts come back in the second pass
                for _ in range(2):
                    cuts = np.where(anew, segment(search.arcs, _log_shares(guessed, allowed)), search.choice)
                    guessed = piece_counts(search.arcs, cuts)
                    told.append(guessed)
                found = search.try_one(out, into, 4 * search.found[into])
                assert found == (search.value > value) == (likelihood(guessed) > value * (1 - 1e-9))
                assert np.array_equal(search.counts, piece_counts(search.arcs, search.choice))
                assert not found or np.array_equal(search.counts, guessed)
                revised += found and not np.array_equal(*told)
                rose += found
    assert rose > 10 and revised > 0


class Listing(Exchange):
    """Notes what is tried, and makes of it what it is told to."""

    answers: list[bool]
    settled = 0

    def try_one(self, out, into, guess):
        self.tried.append((out, into, guess))
        return self.answers.pop(0) if self.answers else False

    def settle(self, counts):
        self.settled += 1
        super().settle(counts)


@pytest.fixture
def listing():
    search, _ = small_search({b"abcd": 5, b"bcda": 3, b"da": 2}, [b"ab", b"cd", b"da"], [b"bc", b"bcd", b"abc"])
    found = Listing(search.arcs, search.own, search.allowed, search.counts, search.found)
    found.tried, found.answers = [], []
    return found


def ranks(search):
    loss, (gain, fits) = losses(search.own, search.counts, search.allowed), search.gains()
    return sorted([256, 257, 258], key=loss.__getitem__), sorted([259, 260, 261], key=lambda i: -gain[i]), fits


def test_ranks_meet_first_as_they_fit_then_as_they_stand_there_and_then_each_meets_each(listing):
    inside, outside, fits = ranks(listing)
    listing.run(100)
    like = list(zip(inside, outside, strict=True))
    assert listing.tried[:3] == [(a, b, fits[b]) for a, b in like]
    assert listing.tried[3:6] == [(a, b, listing.found[b]) for a, b in like]
    order = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (1, 2), (2, 1), (2, 2)]
    assert listing.tried[6:] == [(inside[i], outside[j], listing.found[outside[j]]) for i, j in order]
    assert listing.settled == 1  # nothing helped


@pytest.mark.parametrize("tries", [0, 1, 2, 3, 4, 6, 8, 14])
def test_no_more_are_tried_than_is_asked_for(listing, tries):
    listing.run(tries)
    assert len(listing.tried) == tries


def test_so_many_of_each_rank_are_tried_at_a_time(listing):
    inside, outside, _ = ranks(listing)
    listing.run(100, width=2)
    assert {(out, into) for out, into, _ in listing.tried} == {(a, b) for a in inside[:2] for b in outside[:2]}
    assert len(listing.tried) == 2 + 2 + 4


def test_after_what_helped_the_vocabulary_settles_and_ranks_are_made_anew(listing):
    listing.answers = [False, True, False]
    listing.run(5)
    # Three of which one helps; then two tries are left for the next ranks.
    assert len(listing.tried) == 5 and listing.settled == 2 and listing.tried[3:] == listing.tried[:2]
    listing.tried, listing.answers, listing.settled = [], [False] * 7 + [True], 0
    listing.run(15)
    # The first that helps ends the meeting of each with each, which is paid for as a whole.
    assert len(listing.tried) == 8 and listing.settled == 1
