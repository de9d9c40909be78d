"""The solver finds what no choice of cuts exceeds."""

import itertools
import math

import numpy as np
import pytest

from tests.curate.identifiers import small_words
from winnow.curate.subword_exact import _Search, all_cuts, exact_swe
from winnow.curate.subword_search import likelihood
from winnow.errors import InputError


def test_all_ways_to_cut_a_word_are_told_once_the_fewest_pieces_first():
    assert all_cuts(b"a") == [(b"a",)]
    assert all_cuts(b"abc") == [(b"abc",), (b"a", b"bc"), (b"ab", b"c"), (b"a", b"b", b"c")]
    assert len(set(all_cuts(b"abcdef"))) == len(all_cuts(b"abcdef")) == 32


def test_bounds_leave_few_cuts_to_try():
    tried = []
    for seed in range(4):
        counts = small_words(seed)
        low, high = len(counts) + 1, 1000
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if exact_swe(counts, 259, limit=middle).proved else (middle + 1, high)
        tried.append(low)
    # Without bounds they are 1,024 to 524,288.
    assert tried == [77, 168, 300, 195]


def test_no_words_have_no_cost_and_bytes_alone_are_one_cut():
    assert exact_swe({}, 256) == (0.0, {}, True)
    found = exact_swe({b"ab": 3, b"b": 2}, 256)
    assert found.cuts == {b"ab": (b"a", b"b"), b"b": (b"b",)} and found.proved
    assert found.value == pytest.approx(3 * math.log(3) + 5 * math.log(5) - 8 * math.log(8))


def test_the_exact_solver_finds_what_no_choice_of_cuts_exceeds():
    for seed in range(6):
        counts = dict(itertools.islice(small_words(seed).items(), 3))
        found = exact_swe(counts, 258)
        best = -math.inf
        for cuts in itertools.product(*(all_cuts(word) for word in counts)):
            if len({p for cut in cuts for p in cut if len(p) > 1}) <= 2:
                n = {}
                for count, cut in zip(counts.values(), cuts, strict=True):
                    for piece in cut:
                        n[piece] = n.get(piece, 0) + count
                best = max(best, likelihood(np.array(list(n.values()), float)))
        assert found.proved and found.value == pytest.approx(best, abs=1e-9)
        assert set(map(b"".join, found.cuts.values())) == set(counts)
    assert exact_swe(small_words(3), 259).proved and not exact_swe(small_words(3), 259, limit=8).proved


def test_of_equally_likely_choices_the_first_that_was_found_stays():
    # Either word may be whole; the heavier goes first, of equals the first in order of bytes.
    assert exact_swe({b"cba": 2, b"abc": 2}, 257).cuts == {b"abc": (b"abc",), b"cba": (b"c", b"b", b"a")}


def test_no_more_cuts_are_tried_than_the_limit(monkeypatch):
    tried, go = [], _Search.go

    def counted(search, depth, *state):
        tried.append(depth)
        go(search, depth, *state)

    monkeypatch.setattr(_Search, "go", counted)
    counts = small_words(3)
    best = exact_swe(counts, 259).value
    for limit in (len(counts) + 1, 50, 100):
        tried.clear()
        found = exact_swe(counts, 259, limit=limit)
        assert len(tried) == limit + 1 and not found.proved  # the search itself, then each cut
        assert found.value <= best and len(found.cuts) == len(counts)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: exact_swe({b"ab": 1}, 255), "size: is 255, limit 1000000; give 256 and 2"),
        (lambda: exact_swe({b"ab": 1}, 257, limit=1), "limit 1; give 256 and 2"),
    ],
)
def test_impossible_requests_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
