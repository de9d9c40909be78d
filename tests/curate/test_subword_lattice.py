"""Words are what they were, and cuts and counts those of brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.subword_exact import all_cuts
from winnow.curate.subword_lattice import (
    best_cuts,
    expected_counts,
    lattice,
    pack,
    pieces_of,
    segment,
    substrings,
    word_counts,
    words_of,
)
from winnow.errors import InputError
from winnow.randomness import numpy_generator


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_words_joined_are_the_content(content):
    assert b"".join(words_of(content)) == content


def test_words_are_identifiers_numbers_blanks_and_symbols():
    assert words_of("día_1 = 23\n\n**x²".encode()) == [
        "día_1".encode(),
        b" ",
        b"=",
        b" ",
        b"23",
        b"\n\n",
        b"**",
        "x²".encode(),
    ]
    assert word_counts([b"b a", b"a"]) == {b" ": 1, b"a": 2, b"b": 1}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["ab", "aab", "abab", "ba", "bbb", "aa"]), max_size=6, unique=True),
    st.lists(st.text("ab", min_size=1, max_size=11), min_size=1, max_size=3, unique=True),
    st.integers(0, 5),
)
def test_cuts_are_the_best_of_all_and_of_equals_the_shortest_with_the_longest_first(multiples, words, seed):
    pieces = ["a", "b", *multiples]
    # Whole numbers, so that equal sums are equal.
    log_p = dict(zip(pieces, -numpy_generator(seed, "p").integers(1, 6, len(pieces)).astype(float), strict=True))
    packed = pack([word.encode() for word in words])
    arcs = lattice(packed, [piece.encode() for piece in pieces])
    values = np.array([log_p[piece] for piece in pieces])
    tokens, ends = pieces_of(arcs, segment(arcs, values))
    for w, word in enumerate(words):
        allowed = [
            cut for cut in (tuple(p.decode() for p in c) for c in all_cuts(word.encode())) if set(cut) <= set(pieces)
        ]
        best = max(allowed, key=lambda cut: (sum(map(log_p.get, cut)), -len(cut), [len(p) for p in cut]))
        assert [pieces[t] for t in tokens[ends[w] : ends[w + 1]]] == list(best)
        assert best_cuts(arcs, values)[w] == sum(map(log_p.get, best))
        proper = [sum(map(log_p.get, cut)) for cut in allowed if len(cut) > 1]
        assert best_cuts(arcs, values, np.array([w]), proper=True)[0] == max(proper, default=-np.inf)


def test_a_piece_is_held_by_the_words_it_stands_in():
    words = [b"ab", b"ba", b"abab", b"c"]
    pieces = [b"a", b"b", b"ab", b"c", b"xy", b"abab"]
    arcs = lattice(pack(words), pieces)
    for number, piece in enumerate(pieces):
        assert arcs.held_by(number).tolist() == [w for w, word in enumerate(words) if piece in word]


def test_the_size_of_a_corpus_is_in_bytes_of_all_its_words():
    assert pack({b"abc": 4, b"d": 2}).size == 14


def test_expected_counts_are_those_of_all_cuts_weighed_by_their_probability():
    words, pieces = {b"abab": 3, b"ba": 2}, [b"a", b"b", b"ab", b"aba", b"ba"]
    log_p = np.log([0.3, 0.2, 0.25, 0.05, 0.2])
    counts, total = expected_counts(lattice(pack(words), pieces), log_p)
    expected, nats = np.zeros(5), 0.0
    for word, weight in words.items():
        cuts = [[pieces.index(p) for p in cut] for cut in all_cuts(word) if set(cut) <= set(pieces)]
        chances = np.array([np.exp(log_p[cut].sum()) for cut in cuts])
        nats += weight * np.log(chances.sum())
        for cut, chance in zip(cuts, chances / chances.sum(), strict=True):
            np.add.at(expected, cut, weight * chance)
    np.testing.assert_allclose(counts, expected, rtol=1e-12)
    assert total == pytest.approx(nats, rel=1e-12)


def test_substrings_are_counted_where_they_do_not_overlap_and_only_frequent_ones_are_given():
    assert substrings(pack({b"aaaa": 3, b"xy": 1}), 3) == {b"aa": 6, b"aaa": 3}
    assert substrings(pack({b"abc": 2, b"ab": 1, b"bc": 1}), 16, least=3) == {b"ab": 3, b"bc": 3}
    assert substrings(pack({b"ab": 1}), 4, least=1) == {b"ab": 1}


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=5))
def test_substrings_are_those_of_str_count(words):
    whole = {word.encode(): count for word, count in words.items()}
    expected = {}
    for a, b in itertools.combinations(range(10), 2):
        for word in whole:
            if b <= len(word) and 2 <= b - a <= 4:
                expected[word[a:b]] = sum(w.count(word[a:b]) * c for w, c in whole.items())
    assert substrings(pack(whole), 4) == {s: n for s, n in expected.items() if n >= 2}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pack([b"a", b""]), "one is empty"),
        (lambda: segment(lattice(pack([b"ac"]), [b"a", b"b"]), np.zeros(2)), "none of their sequences is b'ac'"),
    ],
)
def test_impossible_requests_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
