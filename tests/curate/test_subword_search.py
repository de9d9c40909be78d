"""J never falls, and losses are what they say."""

import numpy as np
import pytest

from tests.curate.identifiers import identifiers
from winnow.curate.subword_lattice import (
    BYTES,
    lattice,
    pack,
    piece_counts,
)
from winnow.curate.subword_search import SINGLES, Exchange, candidates, hard_em, likelihood, losses, prune

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
