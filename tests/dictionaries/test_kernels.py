"""What the compiled loops promise beyond codes.py, whose tests run them through both backends."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow.dictionaries import kernels

PRE = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
LOW, HIGH = np.zeros(20, np.float32), np.full(20, np.inf, np.float32)


# Arrays have the types that codes.py passes: others would be compiled anew.
few_values = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
matrices = st.tuples(st.integers(1, 4), st.integers(1, 14)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=few_values)
)
quick = settings(max_examples=60, deadline=None)


def entries(row, chosen):
    return [(j, row[j]) for j in sorted(chosen)]


def row_by_row(counts, indices, values):
    """[(index, value), ...] of each row."""
    stops = [0, *np.cumsum(counts).tolist()]
    assert stops[-1] == len(indices) == len(values)
    return [list(zip(indices[a:b].tolist(), values[a:b].tolist(), strict=True)) for a, b in pairwise(stops)]


@quick
@given(matrices, st.integers(1, 14), st.data())
def test_top_of_rows_is_the_definition_for_any_range_of_rows(pre, k, data):
    begin = data.draw(st.integers(0, len(pre) - 1))
    end = data.draw(st.integers(begin + 1, len(pre)))
    expected = []
    for row in pre[begin:end].tolist():
        best = sorted((j for j in range(len(row)) if row[j] > 0), key=lambda j: (-row[j], j))
        expected.append(entries(row, best[:k]))
    assert row_by_row(*kernels.top_of_rows(pre, k, begin, end)) == expected


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_top_of_rows_does_not_depend_on_the_scale_of_a_row_or_of_the_row_before(scale, k):
    pre = np.random.default_rng(k).lognormal(size=(3, 60)).astype(np.float32)
    pre[1] *= np.float32(scale)
    expected = [entries(row.tolist(), np.argsort(-row, kind="stable")[:k].tolist()) for row in pre]
    assert row_by_row(*kernels.top_of_rows(pre, k, 0, 3)) == expected


@pytest.mark.parametrize("guess", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_bound_of_a_row_leaves_little_to_strike_out(k, guess):
    for seed in range(10):
        row = np.random.default_rng(seed).lognormal(size=80).astype(np.float32)
        bound = kernels._bound_of_row(row, k, guess)
        assert k <= (row > bound).sum() <= k + kernels.SPARE == k + 8


@pytest.mark.parametrize("guess", [0.5, 1.0, 64.0])
def test_a_guess_that_is_good_enough_is_the_bound_of_a_row(guess):
    row = np.float32(guess) * np.linspace(0.5, 1.5, 40, dtype=np.float32)  # 20 exceed the guess
    assert [kernels._bound_of_row(row, k, guess) for k in (12, 20)] == [guess, guess]
    assert kernels._bound_of_row(row, 11, guess) > guess > kernels._bound_of_row(row, 21, guess)


@pytest.mark.parametrize("value", [2.0**-20, 1.0, 2.0**20])
def test_the_bound_of_a_row_of_ties_is_exceeded_by_all_of_them(value):
    row = np.full(50, value, np.float32)
    assert (row > kernels._bound_of_row(row, 3, 1.0)).all()


@quick
@given(matrices, st.data())
def test_between_is_the_definition_for_any_range_of_rows_and_any_bounds(pre, data):
    bounds = arrays(np.float32, pre.shape[1], elements=few_values)
    low, high = data.draw(bounds), data.draw(bounds)
    begin = data.draw(st.integers(0, len(pre) - 1))
    end = data.draw(st.integers(begin + 1, len(pre)))
    expected = [
        entries(row, [j for j in range(len(row)) if low[j] < row[j] < high[j]]) for row in pre[begin:end].tolist()
    ]
    total = sum(map(len, expected))
    assert row_by_row(*kernels.between(pre, low, high, total, begin, end)) == expected
    assert row_by_row(*kernels.between(pre, low, high, total + 3, begin, end)) == expected
    if total:
        counts, indices, values = kernels.between(pre, low, high, total - 1, begin, end)
        # What fits and the row that does not.
        assert total - 1 < len(indices) == len(values) == counts.sum() <= total


@pytest.mark.parametrize("capacity", [0, 1, 50])
def test_between_stops_at_the_row_for_which_there_is_no_room(capacity):
    counts, indices, _ = kernels.between(PRE, LOW, HIGH, capacity, 0, 30)
    active = (PRE > 0).sum(1).cumsum()
    last = int((active > capacity).argmax())
    assert len(indices) == active[last] and counts.tolist() == [*(PRE[: last + 1] > 0).sum(1), *[0] * (29 - last)]
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


@quick
@given(
    st.lists(st.lists(st.sampled_from([1e-45, 0.1, 1.0, 1.0000001, 2.0, 3e38]), max_size=6), min_size=1, max_size=5),
    st.integers(1, 30),
)
def test_keep_largest_is_the_definition(rows, keep):
    flat = np.array([v for row in rows for v in row], np.float32)
    counts, indices = np.array([len(row) for row in rows]), np.arange(len(flat), dtype=np.int32)
    chosen = sorted(sorted(range(len(flat)), key=lambda p: (-flat[p], p))[:keep])
    expected = [[p for p in chosen if p in range(start, stop)] for start, stop in pairwise([0, *counts.cumsum()])]
    values = flat.copy()
    kept = kernels.keep_largest(counts, indices, values, keep, values.view(np.int32))
    assert kept == len(chosen)
    found = row_by_row(counts, indices[:kept], values[:kept])
    assert found == [[(p, float(flat[p])) for p in row] for row in expected]


def ragged(counts, m, seed=0):
    """A code of small integers, exact in float32 in any order of addition: (starts, indices, values, dense)."""
    generator = np.random.default_rng(seed)
    dense = np.zeros((len(counts), m), np.float32)
    for row, count in zip(dense, counts, strict=True):
        row[generator.choice(m, count, replace=False)] = generator.integers(1, 9, count)
    indices = dense.nonzero()[1].astype(np.int32)
    return np.array([0, *np.cumsum(counts)]), indices, dense[dense > 0], dense


@pytest.mark.parametrize(("begin", "end"), [(0, 10), (3, 7)])
def test_decode_and_dots_are_products_of_the_dense_code_however_many_are_active(begin, end):
    starts, indices, values, dense = ragged([0, 1, 2, 3, 4, 5, 7, 8, 9, 12], m=12)
    generator = np.random.default_rng(1)
    weight, grad = (generator.integers(-9, 9, (n, 3)).astype(np.float32) for n in (12, 10))
    out = np.full((10, 3), 77, np.float32)
    kernels.decode(starts, indices, values, weight, begin, end, out)
    assert out[begin:end].tolist() == (dense @ weight)[begin:end].tolist()
    assert (np.delete(out, np.s_[begin:end], axis=0) == 77).all()
    out = np.full(len(indices), 77, np.float32)
    kernels.dots(starts, indices, grad, weight, begin, end, out)
    expected = np.full_like(dense, 77)
    expected[begin:end] = (grad @ weight.T)[begin:end]
    assert out.tolist() == expected[dense > 0].tolist()


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_outer_and_column_sums_are_sums_over_the_dense_code_and_are_added(parts):
    starts, indices, values, dense = ragged([0, 3, 1, 5, 2, 6], m=7)
    grad = np.random.default_rng(2).integers(-9, 9, (6, 3)).astype(np.float32)
    out = np.full((7, 3), 5, np.float32)
    for part in range(parts):
        kernels.outer(starts, indices, values, grad, part, parts, out)
    assert out.tolist() == (5 + dense.T @ grad).tolist()
    sums = np.full(7, 5, np.float32)
    kernels.column_sums(indices, values, sums)
    assert sums.tolist() == (5 + dense.sum(0)).tolist()


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
