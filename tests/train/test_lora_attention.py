"""Fast gradients beside autograd through the same weights, capped scores beside a formula, gains beside clamps."""

import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from winnow.errors import InputError
from winnow.models import build
from winnow.models.rotary import rotated
from winnow.models.transformer import Attention
from winnow.train.lora_attention import (
    BoundedAttention,
    PolynomialGradient,
    causal_weights,
    clamped_gains,
    largest_score,
    polynomial_weights,
    with_bounded_attention,
)
from winnow.train.lora_limits import Head, lora_gradients_polynomial

X = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(0))


def parts(size=1.0, heads=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (size * torch.randn(2, heads, 7, 4, generator=generator, dtype=torch.float64)).requires_grad_()
        for _ in range(3)
    ]


def test_weights_of_a_polynomial_are_its_values_over_their_sum():
    scores = torch.tensor([[0.5, 9.0], [-3.0, 0.1]], dtype=torch.float64)
    found = polynomial_weights(scores, 2)
    a, b = 1 - 3 + 9 / 2, 1 + 0.1 + 0.01 / 2
    assert found.tolist() == [[1.0, 0.0], pytest.approx([a / (a + b), b / (a + b)])]
    assert torch.allclose(polynomial_weights(scores, 40), causal_weights(scores), atol=1e-12)
    assert polynomial_weights(scores, 0).tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("fast", [[False, False], [True, False], [True, True]])
def test_backward_is_autograd_through_the_weights_that_each_head_has(fast):
    query, key, value = parts()
    goal = torch.randn(2, 2, 7, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = PolynomialGradient.apply(query, key, value, torch.tensor(fast), 2)
    assert torch.allclose(found, scaled_dot_product_attention(query, key, value, is_causal=True), atol=1e-12)
    ours = torch.autograd.grad((found * goal).sum(), (query, key, value))
    scores = query @ key.mT / 2
    weights = torch.where(torch.tensor(fast)[:, None, None], polynomial_weights(scores, 2), causal_weights(scores))
    # The softmax's own law of change at these weights: f * (g - sum f g), whatever made them.
    flow = goal @ value.mT
    by_score = weights * (flow - (weights * flow).sum(-1, keepdim=True))
    expected = (by_score @ key / 2, by_score.mT @ query / 2, weights.mT @ goal)
    for mine, theirs in zip(ours, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)
    if not any(fast):
        through = torch.autograd.grad(
            (scaled_dot_product_attention(query, key, value, is_causal=True) * goal).sum(), (query, key, value)
        )
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(ours, through, strict=True))


def test_the_last_querys_gradient_is_the_almost_linear_algorithms():
    """It sees all keys, so no mask is in the way there."""
    generator = torch.Generator().manual_seed(2)
    x, weight = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((6, 3), (3, 3)))
    eye, size = torch.eye(3, dtype=torch.float64), 1 / math.sqrt(3)
    query, key, value = (x @ weight)[None, None], x[None, None], x[None, None]
    query.requires_grad_()
    mixed = PolynomialGradient.apply(query, key, value, torch.tensor([True]), 4)
    target = mixed.detach().clone()
    target[0, 0, -1] += 1.0
    # A loss whose slope by the output is that of half the squared distance under the polynomial's own weights.
    scores = (query.detach() @ key.mT * size)[0, 0, -1]
    kernel = sum(scores**p / math.factorial(p) for p in range(5))
    missed = (kernel / kernel.sum()) @ x - target[0, 0, -1]
    (found,) = torch.autograd.grad((mixed[0, 0, -1] * missed).sum(), query)
    head = Head(x, weight, eye, eye, target[0, 0])
    alone = head._replace(target=_all_but_the_last_fitted(head, 4, size))
    zeros = torch.zeros(3, 3, dtype=torch.float64)
    # With B = 0 and A the identity, the gradient by B is that by the weight: inputs^T times that by queries.
    gradients, _ = lora_gradients_polynomial(alone, {"query": (zeros, eye)}, 3.0, 4, size)
    assert torch.allclose(gradients["query"][0], torch.outer(x[-1], found[0, 0, -1]), atol=1e-10)


def _all_but_the_last_fitted(head, degree, scale):
    """Targets that queries but the last hit, so that the last alone has a gradient."""
    scores = scale * (head.inputs @ head.query) @ head.inputs.T
    kernel = sum(scores**p / math.factorial(p) for p in range(degree + 1))
    target = (kernel / kernel.sum(1, keepdim=True)) @ head.inputs
    target[-1] = head.target[-1]
    return target


@torch.no_grad()
def test_the_module_is_the_attention_it_was_made_of():
    torch.manual_seed(0)
    before = Attention(8, 2)
    after = BoundedAttention(before, torch.tensor([True, False]))
    assert torch.allclose(after(X), before(X), atol=1e-6) and after.degree == 2
    assert after.query.weight is before.query.weight
    capped = BoundedAttention(before, torch.tensor([False, False]), cap=0.05)(X)
    query, key, value = (p(X).unflatten(-1, (2, -1)).transpose(1, 2) for p in (before.query, before.key, before.value))
    scores = 0.05 * torch.tanh(rotated(query) @ rotated(key).mT / 2 / 0.05)
    mixed = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf).softmax(-1) @ value
    assert torch.allclose(capped, before.output(mixed.transpose(1, 2).flatten(-2)), atol=1e-6)
    assert not torch.allclose(capped, before(X), atol=1e-4)
    loose = BoundedAttention(before, torch.tensor([False, False]), cap=1e4)(X)
    assert torch.allclose(loose, before(X), atol=1e-4)


def test_every_block_gets_its_own_heads():
    model = build("transformer", vocabulary=9, width=8, layers=2, heads=2, seed=0)
    tokens = torch.tensor([[1, 4, 2, 8]])
    before = model(tokens)
    assert with_bounded_attention(model, [[True, False], [False, False]], degree=4) is model
    assert [block.attention.fast.tolist() for block in model.blocks] == [[True, False], [False, False]]
    assert model.blocks[1].attention.degree == 4 and torch.allclose(model(tokens), before, atol=1e-6)


@torch.no_grad()
def test_gains_are_clamped_and_scores_are_the_largest_of_any_layer():
    model = build("transformer", vocabulary=9, width=8, layers=2, heads=2, seed=0)
    model.blocks[0].attention_norm.weight.copy_(torch.linspace(-3, 3, 8))
    tokens = torch.tensor([[1, 4, 2, 8], [0, 0, 3, 5]])
    tops, stream = [], model.embedding(tokens)
    for block in model.blocks:
        query, key = (
            rotated(p(block.attention_norm(stream)).unflatten(-1, (2, -1)).transpose(1, 2))
            for p in (block.attention.query, block.attention.key)
        )
        pairs = [
            (query[n, h, i] @ key[n, h, j]).item() / 2
            for n in range(2)
            for h in range(2)
            for i in range(4)
            for j in range(i + 1)
        ]
        tops.append(max(map(abs, pairs)))
        stream = block(stream)
    assert largest_score(model, tokens) == pytest.approx(max(tops), rel=1e-5)
    assert largest_score(model, tokens, 0.01) == pytest.approx(0.01 * math.tanh(max(tops) / 0.01), rel=1e-5)
    assert clamped_gains(model, 0.5) is model
    assert model.blocks[0].attention_norm.weight.tolist() == pytest.approx([-0.5] * 4 + [0.5] * 4, abs=0.08)
    assert model.blocks[1].attention_norm.weight.tolist() == [0.5] * 8


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"degree": 3}, "degree: is 3; give an even one"),
        ({"degree": -2}, "degree: is -2"),
        ({"cap": 0.0}, "cap: is 0.0; give a number above 0"),
        ({"cap": 5.0}, "cap: is 5.0 where heads have fast gradients"),
    ],
)
def test_bad_input_is_named(options, match):
    with pytest.raises(InputError, match=match):
        BoundedAttention(Attention(8, 2), torch.tensor([True, False]), **options)
