"""The solver finds what no choice of cuts exceeds."""

import itertools
import math

import numpy as np
import pytest

from tests.curate.identifiers import small_words
from winnow.curate.subword_exact import all_cuts, exact_swe
from winnow.curate.subword_search import likelihood
from winnow.errors import InputError


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
