"""A stream is known by its seed and names alone, and is another one with any of them changed."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.randomness import numpy_generator, stream_seed, torch_generator

STREAMS = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "b", "a"), (0, "ab"), (1, "a"), (10,), (-1, "a")]


def test_streams_are_those_that_results_were_made_with():
    # Numbers that change here change every result.
    assert stream_seed(0) == 4761921975702974394
    assert stream_seed(3, "batches", "0") == 8350219873610912140


@pytest.mark.parametrize(("one", "other"), list(combinations(STREAMS, 2)))
def test_another_seed_or_name_is_another_stream(one, other):
    assert stream_seed(*one) != stream_seed(*other)
    assert not np.array_equal(numpy_generator(*one).random(4), numpy_generator(*other).random(4))


@given(st.integers(-(2**40), 2**40), st.lists(st.text(max_size=5), max_size=3))
def test_a_seed_is_a_number_of_63_bits_that_both_libraries_take(seed, names):
    found = stream_seed(seed, *names)
    assert 0 <= found < 2**63 and found == stream_seed(np.int64(seed), *names)
    assert torch_generator(seed, *names).initial_seed() == found
    assert np.array_equal(numpy_generator(seed, *names).random(3), np.random.default_rng(found).random(3))


def test_generators_repeat_themselves_and_leave_the_global_ones_alone():
    before = torch.get_rng_state()
    first, again = (torch.rand(5, generator=torch_generator(7, "x")) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), before)
    assert torch_generator(7, "x").device.type == "cpu"


def test_naming_a_stream_loads_neither_library():
    code = "import sys, winnow.randomness as r; r.stream_seed(0, 'a'); print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
