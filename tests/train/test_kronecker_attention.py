"""Attention over tuples beside its definition in loops, torch's own attention, and closed forms of its polynomials."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from winnow.errors import InputError
from winnow.train.kronecker_attention import (
    KroneckerAttention,
    degrees_below,
    features,
    khatri_rao,
    kronecker_attention,
    kronecker_attention_polynomial,
    match_construction,
    match_task,
    monomials,
    polynomial,
    power_sums,
)


def parts(count, n=5, d=3, bound=1.0, seed=0, leading=(), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [bound * (2 * torch.rand(*leading, n, d, generator=generator, dtype=dtype) - 1) for _ in range(count)]


def by_hand(query, keys, values, scale, causal=False):
    """One query and one tuple at a time."""
    n, d = query.shape
    out = torch.zeros(n, d, dtype=torch.float64)
    for i in range(n):
        tuples = [t for t in product(range(n), repeat=len(keys)) if not causal or max(t) <= i]
        weights = []
        for t in tuples:
            terms = query[i].clone()
            for key, j in zip(keys, t, strict=True):
                terms = terms * key[j]
            weights.append(math.exp(scale * float(terms.sum())))
        for weight, t in zip(weights, tuples, strict=True):
            worth = torch.full((d,), weight / sum(weights), dtype=torch.float64)
            for value, j in zip(values, t, strict=True):
                worth = worth * value[j]
            out[i] += worth
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("order", "n"), [(3, 5), (3, 1), (4, 4)])
def test_it_is_the_definition(order, n, causal):
    query, *rest = parts(2 * order - 1, n, bound=2)
    keys, values = rest[: order - 1], rest[order - 1 :]
    for chunk in (2, 64):
        found = kronecker_attention(query, keys, values, causal=causal, chunk=chunk)
        assert torch.allclose(found, by_hand(query, keys, values, 1 / 3, causal), atol=1e-12, rtol=0)
    scaled = kronecker_attention(query, keys, values, 2.0, causal)
    assert torch.allclose(scaled, by_hand(query, keys, values, 2.0, causal), atol=1e-12, rtol=0)


def test_with_ones_it_is_torchs_attention():
    query, key, value = parts(3, 7, 4, bound=3)
    one = torch.ones_like(query)
    expected = scaled_dot_product_attention(query, key, value, scale=1 / 4)
    assert torch.allclose(kronecker_attention(query, [key, one], [value, one]), expected, atol=1e-12)
    assert torch.allclose(kronecker_attention(query, [one, key], [one, value]), expected, atol=1e-12)
    found, _ = kronecker_attention_polynomial(query, [key, one], [value, one], 30)
    assert torch.allclose(found, expected, atol=1e-6)


def test_weights_sum_to_one_and_tokens_may_change_places():
    query, *keys = parts(3, 6, bound=2)
    one = torch.ones_like(query)
    assert torch.allclose(kronecker_attention(query, keys, [one, one]), one, atol=1e-12)
    values, order = parts(2, 6, seed=9), torch.tensor([3, 0, 5, 1, 4, 2])
    moved = kronecker_attention(query[order], [k[order] for k in keys], [v[order] for v in values])
    assert torch.allclose(moved, kronecker_attention(query, keys, values)[order], atol=1e-12)


def test_leading_axes_are_separate_problems():
    query, *rest = parts(5, 4, leading=(2, 3))
    found = kronecker_attention(query, rest[:2], rest[2:], chunk=3)
    quick, _ = kronecker_attention_polynomial(query, rest[:2], rest[2:], 12)
    assert torch.allclose(quick, found, atol=1e-10)
    one = kronecker_attention(query[1, 2], [k[1, 2] for k in rest[:2]], [v[1, 2] for v in rest[2:]])
    assert torch.allclose(found[1, 2], one, atol=1e-14)


def test_products_of_rows_are_numpys_kronecker_products():
    a, b, c = parts(3, 3, 2)
    found = khatri_rao([a, b, c])
    for column in range(2):
        expected = np.kron(np.kron(a[:, column], b[:, column]), c[:, column])
        assert np.allclose(found[:, column], expected, atol=1e-15)


@pytest.mark.parametrize("basis", ["taylor", "chebyshev"])
def test_the_polynomial_comes_to_the_exact_attention_within_its_bound(basis):
    query, *rest = parts(5, 16, 3)
    keys, values = rest[:2], rest[2:]
    exact = kronecker_attention(query, keys, values)
    errors = []
    for degree in (1, 2, 4, 10):
        found, bounds = kronecker_attention_polynomial(query, keys, values, degree, basis)
        errors.append(float((found - exact).abs().max()))
        assert bounds.rank == math.comb(3 + degree, degree) and bounds.negative == 0
        if bounds.relative < 1:
            # Each weight is off by the factor at most, above and below the line; values are at most 1.
            assert errors[-1] <= 2 * bounds.relative / (1 - bounds.relative)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-10


def test_bounds_are_told_in_closed_form():
    ones = [torch.ones(4, 2, dtype=torch.float64)] * 5
    ones[0] = -ones[0]
    _, bounds = kronecker_attention_polynomial(ones[0], ones[1:3], ones[3:], 1)
    # 1 + z against exp(z) on [-1, 1]: worst at z = -1, where it is 0; there lie all scores, so that weights sum to 0.
    assert bounds.largest == 1 and bounds.relative == pytest.approx(1) and bounds.negative == 4
    _, bounds = kronecker_attention_polynomial(ones[0], ones[1:3], ones[3:], 1, scale=-2.0)
    assert bounds.largest == 4 and bounds.negative == 0


def test_chebyshev_needs_fewer_terms_than_taylor():
    grid = np.linspace(-3, 3, 301)
    worst = {
        basis: np.abs(np.polynomial.polynomial.polyval(grid, polynomial(6, 3.0, basis)) - np.exp(grid)).max()
        for basis in ("taylor", "chebyshev")
    }
    assert worst["chebyshev"] < worst["taylor"] / 10
    assert polynomial(3, 1.0, "taylor").tolist() == [1, 1, 1 / 2, 1 / 6]
    assert len(polynomial(4, 0.0001, "chebyshev")) == 5


def test_features_are_all_monomials_once():
    exponents, _, _ = monomials(3, 4)
    rows = [tuple(row) for row in exponents.tolist()]
    assert len(set(rows)) == len(rows) == math.comb(7, 3) and all(sum(row) <= 4 for row in rows)
    (x,) = parts(1, 2, 3)
    assert torch.allclose(features(x, 4), (x[:, None] ** exponents).prod(-1), atol=1e-15)


@pytest.mark.parametrize("order", [3, 4])
def test_sums_of_powers_are_those_over_all_tuples(order):
    query, *rest = parts(2 * order - 1, 3, 2)
    keys, values = rest[: order - 1], rest[order - 1 :]
    found = power_sums(query, keys, values, 5, 0.7)
    scores = 0.7 * query @ khatri_rao(keys).T
    worth = torch.cat([khatri_rao(values), torch.ones(3 ** (order - 1), 1, dtype=torch.float64)], 1)
    assert found.shape == (6, 3, 3)
    for power in range(6):
        assert torch.allclose(found[power], scores**power @ worth, atol=1e-12)


def test_degrees_go_on_while_their_rank_is_below():
    assert list(degrees_below(128, 4)) == [0, 1, 2, 3, 4, 5]  # C(9, 5) = 126
    assert list(degrees_below(126, 4)) == [0, 1, 2, 3, 4]


def test_a_layer_stops_where_weights_sum_to_less_than_zero():
    torch.manual_seed(0)
    layer = KroneckerAttention(4, 1, degree=1)
    x = parts(1, 5, 4, leading=(1,), dtype=torch.float32)[0]
    layer(0.1 * x)
    with pytest.raises(InputError, match=r"degree: is 1; weights of \d queries sum to 0 or less, as scores reach \d"):
        layer(8 * x)


def test_gradients_are_those_of_finite_differences():
    inputs = [part.requires_grad_() for part in parts(5, 3, 2)]
    assert torch.autograd.gradcheck(lambda q, *r: kronecker_attention(q, r[:2], r[2:], causal=True), inputs)
    assert torch.autograd.gradcheck(lambda q, *r: kronecker_attention_polynomial(q, r[:2], r[2:], 4)[0], inputs)


@pytest.mark.parametrize("order", [3, 4])
def test_a_layer_is_attention_of_its_projections(order):
    torch.manual_seed(0)
    layer = KroneckerAttention(8, 2, order)
    x = parts(1, 4, 8, leading=(2,), dtype=torch.float32)[0]
    assert sum(p.numel() for p in layer.parameters()) == 2 * order * 64
    one_head = [layer.query, *layer.keys, *layer.values]
    query, *rest = (part(x)[..., :4] for part in one_head)
    heads = torch.cat(
        [
            kronecker_attention(query, rest[: order - 1], rest[order - 1 :]),
            kronecker_attention(
                *(lambda q, *r: (q, r[: order - 1], r[order - 1 :]))(*(p(x)[..., 4:] for p in one_head))
            ),
        ],
        -1,
    )
    assert torch.allclose(layer(x), layer.output(heads), atol=1e-6)
    layer.degree = 8
    assert torch.allclose(layer(x), layer.output(heads), atol=1e-5)
    layer.degree, layer.causal = None, True
    changed = x.clone()
    changed[:, -1] += 1
    assert torch.equal(layer(changed)[:, :-1], layer(x)[:, :-1])


@pytest.mark.parametrize("order", [2, 3, 4])
def test_labels_are_those_of_all_tuples(order):
    numbers, labels = match_task(4, 13, order, 20, np.random.default_rng(0))
    assert numbers.shape == labels.shape == (20, 4) and labels.dtype == torch.float32
    for row, told in zip(numbers.tolist(), labels.tolist(), strict=True):
        expected = [any((x + sum(t)) % 13 == 0 for t in product(row, repeat=order - 1)) for x in row]
        assert told == expected
    assert 0 < labels.mean() < 1 and numbers.max() < 13


@pytest.mark.parametrize("modulus", [1, 2, 7, 31])
def test_one_head_with_nothing_learned_solves_the_task(modulus):
    numbers, labels = match_task(8, modulus, 3, 200, np.random.default_rng(1))
    assert torch.equal(match_construction(numbers, modulus), labels.bool())


def test_a_layer_is_of_third_order_exact_and_sees_all_tokens_unless_told():
    layer = KroneckerAttention(4, 1)
    assert len(layer.keys) == len(layer.values) == 2 and layer.degree is None and not layer.causal
    torch.manual_seed(0)
    wide = KroneckerAttention(4, 1, causal=False)
    x = parts(1, 3, 4, leading=(1,), dtype=torch.float32)[0]
    changed = x.clone()
    changed[:, -1] += 1
    assert (wide(changed)[:, 0] != wide(x)[:, 0]).any()
    query, *rest = parts(5)
    told = kronecker_attention(query, rest[:2], rest[2:], None, False, 64)
    assert torch.equal(kronecker_attention(query, rest[:2], rest[2:]), told)
    quick = kronecker_attention_polynomial(query, rest[:2], rest[2:], 3)
    told = kronecker_attention_polynomial(query, rest[:2], rest[2:], 3, "taylor", 1 / 3, False)
    assert torch.equal(quick[0], told[0]) and quick[1] == told[1]


def test_bad_input_is_named():
    query, *rest = parts(5)
    with pytest.raises(InputError, match="keys: 1, values: 2; give two or more"):
        kronecker_attention(query, rest[:1], rest[1:3])
    with pytest.raises(InputError, match="keys: 2, values: 1"):
        kronecker_attention(query, rest[:2], rest[2:3])
    with pytest.raises(InputError, match=r"shapes: are \[\(4, 3\), \(5, 3\)"):
        kronecker_attention(query[:4], rest[:2], rest[2:])
    with pytest.raises(InputError, match="an entry is NaN or infinite"):
        kronecker_attention(query * torch.inf, rest[:2], rest[2:])
    with pytest.raises(InputError, match="a mask over tuples does not factor"):
        kronecker_attention_polynomial(query, rest[:2], rest[2:], 2, causal=True)
    with pytest.raises(InputError, match="degree: is 70, rank 62196 at 3 dimensions"):
        kronecker_attention_polynomial(query, rest[:2], rest[2:], 70)
    with pytest.raises(InputError, match="degree: is -1"):
        kronecker_attention_polynomial(query, rest[:2], rest[2:], -1)
    with pytest.raises(InputError, match="degree: is 4 with a causal mask, which does not factor; give None"):
        KroneckerAttention(8, 2, degree=4, causal=True)
    with pytest.raises(InputError, match="order: is 2"):
        KroneckerAttention(8, 2, 2)
    with pytest.raises(InputError, match="width: is 9, no multiple of the 2 heads"):
        KroneckerAttention(9, 2)
    with pytest.raises(InputError, match="width: is 8, no multiple of the 0 heads"):
        KroneckerAttention(8, 0)
    with pytest.raises(InputError, match="match: order 1, 4 numbers below 13"):
        match_task(4, 13, 1, 2, np.random.default_rng(0))
