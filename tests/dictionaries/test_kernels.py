"""What the compiled loops promise beyond codes.py, whose tests run them through both backends."""

import numpy as np
import pytest

from winnow.dictionaries import kernels

PRE = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
LOW, HIGH = np.zeros(20, np.float32), np.full(20, np.inf, np.float32)


@pytest.mark.parametrize("capacity", [0, 1, 50])
def test_between_says_when_it_runs_out_of_room(capacity):
    counts, _, _ = kernels.between(PRE, LOW, HIGH, capacity, 0, 30)
    assert counts[0] == -1
    counts, indices, values = kernels.between(PRE, LOW, HIGH, int((PRE > 0).sum()), 0, 30)
    assert counts.tolist() == (PRE > 0).sum(1).tolist()
    assert values.tolist() == PRE[PRE > 0].tolist() and indices.tolist() == (PRE > 0).nonzero()[1].tolist()


def test_kernels_work_on_the_rows_they_are_given():
    whole = kernels.top_of_rows(PRE, 4, 0, 30)
    parts = [kernels.top_of_rows(PRE, 4, begin, end) for begin, end in ((0, 7), (7, 30))]
    for column, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert column.tolist() == np.concatenate(pieces).tolist()


@pytest.mark.parametrize("keep", [1, 2, 3, 4, 5, 6, 9])
def test_keep_largest_breaks_ties_by_position(keep):
    counts, values = np.array([3, 0, 3]), np.array([2.0, 1, 2, 1, 3, 1], np.float32)
    indices = np.arange(6, dtype=np.int32)
    order = sorted(range(6), key=lambda p: (-values[p], p))[:keep]
    kept = kernels.keep_largest(counts, indices, values, keep, values.view(np.int32))
    assert kept == min(keep, 6) and sorted(order) == indices[:kept].tolist()
    assert counts.tolist() == [sum(p < 3 for p in order), 0, sum(p >= 3 for p in order)]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_residue_class_writes_its_own_latents_alone(part):
    starts, indices = np.array([0, 2, 3]), np.array([0, 4, 2], np.int32)
    values, grad = np.array([2.0, 3, 5]), np.array([[1.0, 10], [2, 20]])
    out = np.zeros((6, 2))
    kernels.outer(starts, indices, values, grad, part, 3, out)
    expected = np.zeros((6, 2))
    expected[[0, 4, 2]] = [[2, 20], [3, 30], [10, 100]]
    expected[np.arange(6) % 3 != part] = 0
    assert out.tolist() == expected.tolist()
