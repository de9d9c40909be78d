"""A cache at work beside the simulation of its policy, and threads that ask at once."""

import threading
import time
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.compress.pager import Pager, Policy
from winnow.compress.paging import simulate
from winnow.errors import InputError

requests = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=40)


@pytest.mark.parametrize("policy", get_args(Policy))
@given(asked=requests, k=st.integers(1, 4))
def test_it_faults_where_the_simulation_does(policy, asked, k):
    loaded = []
    pager = Pager(k, policy, lambda key: loaded.append(key) or f"page {key}")
    hits = []
    for page, bit in asked:
        before = pager.faults
        assert pager.get(page, bit) == f"page {page}"
        hits.append(pager.faults == before)
        assert len(pager) <= k and page in pager
    pages, bits = np.array(asked).T
    expected = simulate(pages, bits, k, policy)
    assert hits == expected.hits.tolist() and pager.evictions == expected.evictions
    assert len(loaded) == pager.faults and pager.hits + pager.faults == len(asked)


def test_threads_load_each_value_once():
    loaded = []

    def slow(key):
        loaded.append(key)
        time.sleep(0.01)
        return key

    pager = Pager(4, "lru", slow)
    threads = [threading.Thread(target=lambda: [pager.get(key) for key in range(4)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(loaded) == [0, 1, 2, 3] and pager.hits == 28


def test_a_loader_that_fails_changes_nothing():
    def fails(key):
        if key == "bad":
            raise OSError("gone")
        return key

    pager = Pager(1, "lru", fails)
    pager.get("good")
    with pytest.raises(OSError, match="gone"):
        pager.get("bad")
    assert "good" in pager and (pager.faults, pager.evictions) == (1, 0)
    assert pager.get("good") == "good" and pager.hits == 1


def test_bad_input_is_named():
    with pytest.raises(InputError, match="k: is 0"):
        Pager(0, "lru", str)
    with pytest.raises(InputError, match="policy: unknown name 'marker'"):
        Pager(1, "marker", str)
    with pytest.raises(InputError, match="bit: is 2"):
        Pager(1, "lru", str).get(1, 2)
