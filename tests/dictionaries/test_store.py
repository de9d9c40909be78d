import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from winnow.dictionaries.store import batches, geometric_median, statistics
from winnow.errors import InputError


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def numbered(n, d=3):
    return torch.arange(n, dtype=torch.float32)[:, None].repeat(1, d)


def test_a_matrix_is_read_once_per_pass_in_an_order_that_changes():
    read = torch.cat(take(batches(numbered(10), 4, seed=0), 5))[:, 0].tolist()
    first, second = read[:10], read[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second and first != sorted(first)


@pytest.mark.parametrize("size", [1, 7, 10, 25, 31])
def test_batches_of_any_size_go_through_whole_passes(size):
    read = torch.cat(take(batches(numbered(10, d=1), size, seed=0), 200 // size + 1))[:200, 0]
    for part in read.split(10):
        assert sorted(part.tolist()) == list(range(10))


def test_the_order_depends_on_the_seed_alone():
    orders = [torch.cat(take(batches(numbered(50), 25, seed), 2)) for seed in (1, 1, 2)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("store", [numbered(10), [numbered(10)[:7], numbered(10)[7:]]], ids=["matrix", "pieces"])
@pytest.mark.parametrize("start", [1, 3, 8])
def test_reading_can_start_at_any_batch(store, start):
    whole = take(batches(store, 4, 0), start + 3)[start:]
    for expected, found in zip(whole, take(batches(store, 4, 0, start), 3), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
def test_pieces_are_cut_anew_in_their_own_order_and_read_again(cut):
    read = torch.cat(take(batches(list(numbered(10).split(cut)), 4, 0), 5))[:, 0].tolist()
    assert read == [i % 10 for i in range(20)]


def test_an_iterable_that_can_be_read_once_is_read_to_its_last_row():
    read = take(batches(iter(numbered(12).split(4)), 4, 0), 3)
    assert torch.equal(torch.cat(read), numbered(12))


@pytest.mark.parametrize("store", [np.ones((8, 2), np.float16), torch.ones(8, 2).double(), [np.ones((8, 2))]])
def test_rows_of_any_float_type_arrive_as_float32(store):
    (rows,) = take(batches(store, 8, 0), 1)
    assert rows.dtype == torch.float32 and rows.shape == (8, 2)


def bad(value):
    rows = torch.ones(9, 2)
    rows[7, 1] = value
    return rows


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (torch.ones(0, 4), "store: has no rows"),
        ([], "store: has no rows"),
        (iter([torch.ones(3, 2)]), "store: ends after 3 rows"),
        (torch.ones(4, 0), "activations are a matrix"),
        (torch.ones(4), "activations are a matrix"),
        ([torch.ones(2, 2, 2)], "activations are a matrix"),
        (torch.ones(4, 2, dtype=torch.int64), "dtype torch.int64"),
        ([torch.ones(2, 3), torch.ones(2, 4)], "3 dimensions at first, then 4"),
        ([torch.ones(5, 3)] * 2 + [torch.ones(5, 4)], "3 dimensions at first, then 4"),
        ([torch.ones(5, 3), torch.ones(5, 4)], "3 dimensions at first, then 4"),
        (bad(math.nan), "NaN or infinite"),
        (bad(math.inf), "NaN or infinite"),
        ([bad(-math.inf)], "NaN or infinite"),
    ],
)
def test_bad_stores_are_named(store, message):
    with pytest.raises(InputError, match=message):
        take(batches(store, 5, 0), 4)


def test_rows_so_large_that_their_sum_overflows_are_still_finite():
    (rows,) = take(batches(torch.full((4, 4), 3e38), 4, 0), 1)
    assert torch.isfinite(rows).all()


def test_statistics_scale_rows_to_mean_norm_root_d():
    rows = torch.randn(500, 16, generator=torch.Generator().manual_seed(0)) * 7 + 3
    found = statistics(rows)
    assert float((rows * found.scale).norm(dim=1).mean()) == pytest.approx(4, rel=1e-5)
    assert found.variance == pytest.approx(float((rows * found.scale).var(0, correction=0).sum()), rel=1e-4)
    torch.testing.assert_close(found.centre, geometric_median(rows) * found.scale, atol=1e-3, rtol=0)


def test_statistics_of_rows_do_not_depend_on_their_scale():
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) + 1
    expected = statistics(rows)
    for factor in (2.0**-20, 2.0**20):
        found = statistics(rows * factor)
        assert found.scale * factor == pytest.approx(expected.scale)
        assert found.variance == pytest.approx(expected.variance)
        torch.testing.assert_close(found.centre, expected.centre)


def test_rows_of_zeros_keep_their_scale():
    assert statistics(torch.zeros(20, 4)).scale == 1


@pytest.mark.parametrize("constant", [0.0, 2.0])
def test_constant_rows_have_themselves_as_centre_and_no_variance(constant):
    found = statistics(torch.full((20, 4), constant))
    assert found.variance == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(found.centre, torch.full((4,), constant * found.scale))


def test_the_geometric_median_minimises_the_sum_of_distances():
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(1)).exp()
    best = minimize(lambda c: np.linalg.norm(rows.numpy() - c, axis=1).sum(), np.zeros(3), tol=1e-10)
    np.testing.assert_allclose(geometric_median(rows).numpy(), best.x, atol=1e-3)


@pytest.mark.parametrize("scale", [2.0**-24, 1.0, 2.0**24])
def test_the_directions_to_all_rows_cancel_at_the_geometric_median(scale):
    rows = (2 * torch.randn(3000, 3, generator=torch.Generator().manual_seed(1))).exp() * scale
    directions = torch.nn.functional.normalize(rows.double() - geometric_median(rows).double(), dim=1)
    # Their mean is the gradient of the mean distance; at the mean of the rows it is 0.58 long.
    assert float(directions.mean(0).norm()) < 1e-4


def test_a_row_that_lies_at_the_mean_is_met_without_harm():
    rows = torch.tensor([[-1.0, 0], [1.0, 0], [0.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    assert geometric_median(rows).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_the_geometric_median_of_a_line_is_its_middle_even_at_a_data_point():
    rows = torch.tensor([[0.0], [1.0], [50.0]])
    assert float(geometric_median(rows)) == pytest.approx(1, abs=1e-3)
