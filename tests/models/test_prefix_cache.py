"""A model that remembers prefixes says what the model says, and reads no token twice."""

import numpy as np
import pytest

from tests.models.language_backends import small
from winnow.errors import InputError
from winnow.models.language_model import Unsupported
from winnow.models.prefix_cache import PrefixCache


@pytest.fixture
def model():
    return small()


def ids(*tokens):
    return np.array(tokens, np.int64)


def test_a_prefix_goes_on_from_the_longest_one_that_is_known(model):
    cached = PrefixCache(model)
    state = cached.start([ids(5, 6)])
    assert cached.read == 3 and state.lengths.tolist() == [3] and state.rows == 1
    cached.start([ids(5, 6), ids(5, 6)])
    assert cached.read == 3
    longer = cached.extend(state, ids(7))
    assert cached.read == 4 and longer.lengths.tolist() == [4]
    cached.start([ids(5, 6, 7, 8, 9)])
    assert cached.read == 6
    both = cached.start([ids(5, 6, 7), ids(9)])
    assert cached.read == 8
    expected = model.next(model.start([ids(5, 6, 7), ids(9)]))
    assert cached.next(both) == pytest.approx(expected, abs=1e-4)
    chosen = cached.select(both, ids(1, 0, 1))
    assert cached.next(chosen) == pytest.approx(expected[[1, 0, 1]], abs=1e-4) and chosen.lengths.tolist() == [2, 4, 2]


def test_the_oldest_prefix_is_forgotten_and_read_again(model):
    cached = PrefixCache(model, 2)
    first = cached.start([ids(5)])
    cached.start([ids(6)])
    cached.start([ids(5)])  # which is now the newer
    cached.start([ids(7)])
    assert list(cached.known) == [(5,), (7,)] and cached.read == 6
    cached.start([ids(6)])
    assert cached.read == 8
    assert cached.next(first) == pytest.approx(model.next(model.start([ids(5)])), abs=1e-4) and cached.read == 10


def test_all_else_is_the_model_s_own(model):
    cached = PrefixCache(model)
    assert cached.digest == model.digest and cached.capabilities == model.capabilities
    assert cached.score(["x = 1"])[0].logprobs.tolist() == model.score(["x = 1"])[0].logprobs.tolist()
    assert cached.read == 0


def test_what_it_cannot_hold_is_refused(model):
    with pytest.raises(InputError, match="capacity is 0; keep at least one prefix"):
        PrefixCache(model, 0)
    with pytest.raises(InputError, match="was given no prompt"):
        PrefixCache(model).start([])
    with pytest.raises(InputError, match="65 tokens, the first included, do not fit"):
        PrefixCache(model).start([np.arange(64)])

    class Stateless:
        name, capabilities = "stateless", frozenset({"sample"})

    with pytest.raises(Unsupported, match="stateless: cannot 'state'"):
        PrefixCache(Stateless())


def test_unless_told_4096_prefixes_are_kept_and_one_is_the_least(model):
    assert PrefixCache(model).capacity == 4096
    cached = PrefixCache(model, 1)
    cached.start([ids(5)])
    cached.start([ids(6)])
    assert list(cached.known) == [(6,)]
