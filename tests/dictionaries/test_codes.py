"""Both backends against the definitions, entry by entry, and against each other."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.dictionaries.codes import (
    DENSE_ABOVE,
    Compact,
    CompiledBackend,
    Dense,
    TorchBackend,
    make_backend,
)
from winnow.errors import InputError

BACKENDS = [TorchBackend(), CompiledBackend(1), CompiledBackend(3)]
NAMES = ["torch", "numba", "three threads"]
every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
small = st.integers(-3, 3).map(float)  # few values, many ties
matrices = st.integers(1, 6).flatmap(
    lambda m: st.lists(st.lists(small, min_size=m, max_size=m), min_size=1, max_size=5)
)


def spelt_out(code, m):
    """(row, latent) -> value of either kind of code."""
    if isinstance(code, Dense):
        return {(n, j): float(code.values[n, j]) for n, j in code.mask.nonzero().tolist()}
    assert isinstance(code, Compact) and code.m == m
    bounds = code.starts.tolist()
    return {
        (n, int(code.indices[p])): float(code.values[p])
        for n in range(len(bounds) - 1)
        for p in range(bounds[n], bounds[n + 1])
    }


def best(entries, count):
    """The `count` largest positive of [(key, value)], the earlier key first among equals."""
    positive = [(key, value) for key, value in entries if value > 0]
    return dict(sorted(positive, key=lambda entry: (-entry[1], entry[0]))[:count])


@every_backend
@settings(max_examples=60, deadline=None)
@given(matrix=matrices, data=st.data())
def test_top_of_rows_is_the_definition_also_where_values_tie(backend, matrix, data):
    k = data.draw(st.integers(1, len(matrix[0])))
    expected = {}
    for n, row in enumerate(matrix):
        expected |= best([((n, j), v) for j, v in enumerate(row)], k)
    assert spelt_out(backend.top_of_rows(torch.tensor(matrix), k), len(matrix[0])) == expected


@every_backend
@settings(max_examples=60, deadline=None)
@given(matrix=matrices, data=st.data())
def test_top_of_batch_keeps_the_largest_positive_and_no_more(backend, matrix, data):
    keep = data.draw(st.integers(1, len(matrix) * len(matrix[0])))
    expected = best([((n, j), v) for n, row in enumerate(matrix) for j, v in enumerate(row)], keep)
    code = backend.top_of_batch(torch.tensor(matrix), keep)
    assert spelt_out(code, len(matrix[0])) == expected
    assert code.count() == min(keep, sum(v > 0 for row in matrix for v in row))


@every_backend
def test_a_batch_of_which_all_may_be_kept_keeps_all_that_is_positive(backend):
    pre = torch.tensor([[3.0, 1.0, -1.0], [0.0, 2.0, 2.0]])
    for keep in (5, 6):
        code = backend.top_of_batch(pre, keep)
        assert spelt_out(code, 3) == {(0, 0): 3.0, (0, 1): 1.0, (1, 1): 2.0, (1, 2): 2.0}


@every_backend
@pytest.mark.parametrize(("m", "k"), [(64, 1), (64, 63), (1000, 16), (3000, 40)])
@pytest.mark.parametrize("shape", ["normal", "heavy", "negative"])
def test_top_of_rows_agrees_with_torch_topk_at_size(backend, m, k, shape):
    pre = torch.randn(37, m, generator=torch.Generator().manual_seed(m + k))
    pre = {"normal": pre, "heavy": (pre * 6).exp(), "negative": pre - 3}[shape]
    found = spelt_out(backend.top_of_rows(pre, k), m)
    values, indices = torch.topk(pre, k, dim=1)
    expected = {(n, int(j)): float(v) for n in range(37) for v, j in zip(values[n], indices[n], strict=True) if v > 0}
    assert found == expected


@every_backend
def test_a_row_of_equal_values_keeps_its_first_latents(backend):
    code = backend.top_of_rows(torch.full((2, 50), 0.7), 7)
    assert sorted(spelt_out(code, 50)) == [(n, j) for n in range(2) for j in range(7)]


@every_backend
def test_a_batch_smaller_than_the_last_one_still_keeps_its_largest(backend):
    for scale in (1.0, 100.0, 0.01, 1.0):
        pre = torch.randn(20, 30, generator=torch.Generator().manual_seed(1)) * scale
        flat = pre.flatten().sort(descending=True).values[:45]
        assert sorted(spelt_out(backend.top_of_batch(pre, 45), 30).values(), reverse=True) == flat.tolist()


@every_backend
@pytest.mark.parametrize("level", [-1.0, 0.5, 2.5])
def test_between_is_open_at_both_ends_and_has_a_bound_per_latent(backend, level):
    pre = torch.randn(40, 25, generator=torch.Generator().manual_seed(2))
    low = torch.full((25,), level)
    low[3], pre[0, 3], pre[1, 3], pre[2, 3] = 0.25, 0.25, 0.26, 9.0
    high = torch.full((25,), 4.0)
    high[3], pre[4, 5] = 9.0, 4.0
    expected = {(n, j): float(pre[n, j]) for n in range(40) for j in range(25) if low[j] < pre[n, j] < high[j]}
    assert spelt_out(backend.between(pre, low, high), 25) == expected


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("k", [1, 3, 4, 9])
def test_the_four_products_of_compact_codes_are_the_dense_ones(k, threads):
    generator = torch.Generator().manual_seed(k)
    pre, weight = torch.randn(23, 17, generator=generator), torch.randn(17, 6, generator=generator)
    grad, vector = torch.randn(23, 6, generator=generator), torch.randn(17, generator=generator)
    backend = CompiledBackend(threads)
    compact, dense = backend.top_of_rows(pre, k), TorchBackend().top_of_rows(pre, k)
    close = lambda a, b: torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)  # noqa: E731
    close(compact.decode(weight), dense.decode(weight))
    close(compact.outer(grad), dense.outer(grad))
    close(compact.column_sums(), dense.column_sums())
    close(compact.dots(grad, weight), dense.dots(grad, weight)[dense.mask])
    close(compact.per_latent(vector), dense.per_latent(vector)[dense.mask])
    close(compact.with_values(compact.values * 2).decode(weight), dense.decode(weight) * 2)
    assert compact.count() == dense.count()
    assert torch.equal(compact.fired(), dense.fired())


def test_dense_codes_are_zero_off_their_mask_and_so_is_all_that_is_shaped_like_them():
    generator = torch.Generator().manual_seed(3)
    pre, weight = torch.randn(9, 17, generator=generator), torch.randn(17, 6, generator=generator)
    grad, bound = torch.randn(9, 6, generator=generator), torch.zeros(17)
    backend = TorchBackend()
    for code in (backend.top_of_rows(pre, 4), backend.top_of_batch(pre, 30), backend.between(pre, bound, bound + 1)):
        assert 0 < code.count() < pre.numel() and torch.equal(code.values[code.mask], pre[code.mask])
        for shaped in (code.values, code.dots(grad, weight), code.per_latent(weight[:, 0])):
            assert shaped.shape == pre.shape and (shaped[~code.mask] == 0).all() and (shaped[code.mask] != 0).all()


@every_backend
def test_a_code_is_not_changed_once_it_is_made(backend):
    code = backend.top_of_rows(torch.arange(60.0).view(2, 30), 2)
    with pytest.raises(FrozenInstanceError):
        code.values = code.values * 2


def test_results_have_the_same_bits_at_any_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    pre, grad = torch.randn(101, 40, generator=generator), torch.randn(101, 8, generator=generator)
    codes = [CompiledBackend(threads).top_of_rows(pre, 5) for threads in (1, 2, 5)]
    for code in codes[1:]:
        assert torch.equal(code.outer(grad), codes[0].outer(grad))
        assert torch.equal(code.decode(grad[:40]), codes[0].decode(grad[:40]))


def test_many_active_latents_fall_back_to_dense_codes():
    pre = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    bounds = torch.zeros(40), torch.full((40,), float("inf"))
    assert isinstance(CompiledBackend().between(pre, *bounds), Dense)
    assert isinstance(CompiledBackend(4).between(pre, *bounds), Dense)
    assert isinstance(CompiledBackend().between(pre - 2, *bounds), Compact)


@pytest.mark.parametrize("where", ["first rows", "last rows", "everywhere"])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_code_is_dense_above_its_share_of_active_entries_however_threads_part_them(threads, where):
    bounds = torch.zeros(40), torch.full((40,), float("inf"))
    limit = int(DENSE_ABOVE * 50 * 40)
    for active, kind in ((limit, Compact), (limit + 1, Dense)):
        pre = -torch.ones(50 * 40)
        order = {"first rows": torch.arange(2000), "last rows": torch.arange(2000).flip(0)}
        shuffled = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
        pre[order.get(where, shuffled)[:active]] = 1.0
        code = CompiledBackend(threads).between(pre.view(50, 40), *bounds)
        assert isinstance(code, kind) and code.count() == active
        assert sorted(spelt_out(code, 40)) == [divmod(i, 40) for i in (pre > 0).nonzero().flatten().tolist()]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_there_may_be_fewer_rows_than_threads(rows):
    pre = torch.randn(rows, 40, generator=torch.Generator().manual_seed(rows)) - 1
    bounds = torch.full((40,), 0.3), torch.full((40,), float("inf"))
    weight = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    compiled, plain = CompiledBackend(5), TorchBackend()
    for found, expected in (
        (compiled.between(pre, *bounds), plain.between(pre, *bounds)),
        (compiled.top_of_rows(pre, 3), plain.top_of_rows(pre, 3)),
        (compiled.top_of_batch(pre, 3), plain.top_of_batch(pre, 3)),
    ):
        assert isinstance(found, Compact) and spelt_out(found, 40) == spelt_out(expected, 40)
        torch.testing.assert_close(found.decode(weight), expected.decode(weight))
        torch.testing.assert_close(found.outer(pre), expected.outer(pre))


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_batch_like_the_last_one_is_looked_through_once_for_few_candidates(scale, monkeypatch):
    backend, looked = CompiledBackend(), []
    above = CompiledBackend._above

    def counted(self, pre, low):
        parts = above(self, pre, low)
        looked.append(sum(len(values) for _, _, values in parts))
        return parts

    monkeypatch.setattr(CompiledBackend, "_above", counted)
    first, second = (torch.randn(40, 50, generator=torch.Generator().manual_seed(seed)) * scale for seed in (0, 1))
    backend.top_of_batch(first, 100)
    assert looked == [int((first > 0).sum())]
    backend.top_of_batch(second, 100)
    assert len(looked) == 2 and 100 <= looked[1] < 300  # of about 1000 that are positive
    backend.top_of_batch(second * 1e-3, 100)  # the guess is too high: all that is positive is looked through
    assert len(looked) == 4 and looked[2] < 100 and looked[3] == int((second > 0).sum())


def test_without_numba_auto_means_torch_and_asking_for_it_is_an_error(monkeypatch):
    monkeypatch.setattr("winnow.dictionaries.codes.find_spec", lambda name: None)
    assert isinstance(make_backend("auto"), TorchBackend) and isinstance(make_backend("torch"), TorchBackend)
    with pytest.raises(InputError, match="backend: 'numba' is not installed; install numba or choose torch"):
        make_backend("numba")


def test_backends_are_chosen_by_name():
    assert isinstance(make_backend("torch"), TorchBackend)
    assert isinstance(make_backend("numba", 2), CompiledBackend) and make_backend("numba", 2).threads == 2
    assert isinstance(make_backend("auto"), CompiledBackend)
    assert make_backend("auto").threads == CompiledBackend().threads == 1
    assert CompiledBackend().pool is None and CompiledBackend(2).pool is not None
    with pytest.raises(InputError, match="backend: 'cuda' is unknown; choose auto, numba or torch"):
        make_backend("cuda")
