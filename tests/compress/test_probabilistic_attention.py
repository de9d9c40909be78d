"""Drawn blocks beside torch's own attention, closed forms of their chances, and what must not change."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from tests.loud_transformer import loud_transformer
from winnow.compress.probabilistic_attention import (
    BlockSampler,
    expected_fraction,
    fold,
    folded_attention,
    probabilities,
    solve_budget,
    with_block_attention,
)
from winnow.errors import InputError
from winnow.models import build


def inputs(length, dtype=torch.float32, heads=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, heads, length, 4, generator=generator, dtype=dtype) for _ in range(3)]


def drawn(blocks, heads=3, **changes):
    sampler = BlockSampler(**{"family": "geometric", "parameter": 0.5, "sink": False, **changes})
    return torch.stack([sampler.sample(blocks, 0, 0, head) for head in range(heads)])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("length", "block"), [(64, 8), (50, 8), (9, 3), (7, 8), (1, 4)])
def test_with_all_blocks_it_is_torchs_attention(length, block, dtype, tolerance):
    query, key, value = inputs(length, dtype)
    blocks = -(-length // block)
    full = torch.ones(3, blocks, blocks, dtype=torch.bool).tril()
    expected = scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.allclose(folded_attention(query, key, value, full, block), expected, atol=tolerance, rtol=0)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 100))
def test_with_some_blocks_it_is_torchs_masked_attention(length, block, seed):
    query, key, value = inputs(length, torch.float64, seed=seed)
    kept = drawn(-(-length // block), seed=seed)
    mask = kept.repeat_interleave(block, 1).repeat_interleave(block, 2)[:, :length, :length].tril()
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert torch.allclose(folded_attention(query, key, value, kept, block), expected, atol=1e-12)


def test_gradients_are_torchs_and_the_future_has_none():
    query, key, value = (x.requires_grad_() for x in inputs(20, torch.float64))
    kept = drawn(5)
    mask = kept.repeat_interleave(4, 1).repeat_interleave(4, 2).tril()
    weight = torch.randn(2, 3, 20, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    ours = torch.autograd.grad((folded_attention(query, key, value, kept, 4) * weight).sum(), [query, key, value])
    dense = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    theirs = torch.autograd.grad((dense * weight).sum(), [query, key, value])
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(ours, theirs, strict=True))
    early = torch.autograd.grad(folded_attention(query, key, value, kept, 4)[:, :, :7].sum(), [key, value])
    assert all((g[:, :, 7:] == 0).all() for g in early)


def test_the_unbiased_version_divides_each_term_by_its_chance():
    query, key, value = inputs(16, torch.float64, heads=1)
    sampler = BlockSampler("geometric", 0.5, sink=False)
    chances = sampler.chances(4)
    by_token = chances.repeat_interleave(4, 0).repeat_interleave(4, 1)
    terms = (query @ key.transpose(-1, -2) / 2).exp() * torch.ones(16, 16).tril()
    sums, count = torch.zeros(2, 1, 16, 5, dtype=torch.float64), 1500
    squares = torch.zeros_like(sums)
    for step in range(count):
        kept = sampler.sample(4, step)
        weights = torch.where(
            kept.repeat_interleave(4, 0).repeat_interleave(4, 1) & (by_token > 0), terms / by_token, 0.0
        )
        each = torch.cat([weights @ value, weights.sum(-1, keepdim=True)], dim=-1)
        sums, squares = sums + each, squares + each**2
        if step < 3:
            ours = folded_attention(query, key, value, kept[None], 4, chances)
            assert torch.allclose(ours, each[..., :4] / each[..., 4:], atol=1e-12)
    full = torch.cat([terms @ value, terms.sum(-1, keepdim=True)], dim=-1)
    error = ((squares / count - (sums / count) ** 2).clamp(min=0) / count).sqrt()
    assert ((sums / count - full).abs() <= 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("family", ["harmonic", "geometric", "power", "uniform", "bigbird"])
@pytest.mark.parametrize("sink", [True, False])
def test_blocks_are_kept_as_often_as_their_chances_say(family, sink):
    parameter = {"harmonic": 0.7, "geometric": 0.6, "power": 1.2, "uniform": 0.3, "bigbird": 0.3}[family]
    sampler, count = BlockSampler(family, parameter, sink=sink), 600
    kept = torch.stack([sampler.sample(6, step) for step in range(count)]).double()
    chances = sampler.chances(6)
    error = (chances * (1 - chances) / count).sqrt()
    assert ((kept.mean(0) - chances).abs() <= 4.5 * error).all()
    distance = np.arange(6)
    closed = {
        "harmonic": 1 / (1 + 0.7 * distance),
        "geometric": 0.6**distance,
        "power": (1.0 + distance) ** -1.2,
        "uniform": np.array([1, 0.3, 0.3, 0.3, 0.3, 0.3]),
        "bigbird": np.array([1, 1, 0.3, 0.3, 0.3, 0.3]),
    }[family]
    assert probabilities(family, parameter, 6) == pytest.approx(closed)
    assert torch.allclose(chances[5, 1:], torch.from_numpy(closed[4::-1].copy()))
    assert chances[5, 0] == (1 if sink else closed[5]) and (chances.triu(1) == 0).all()
    assert expected_fraction(closed, sink) == pytest.approx(float(chances.sum()) / 21)


@given(
    st.sampled_from(["harmonic", "geometric", "power", "uniform"]),
    st.integers(3, 40),
    st.floats(0.1, 0.95),
    st.booleans(),
)
def test_a_budget_is_met(family, blocks, share, sink):
    least = expected_fraction(np.eye(1, blocks)[0], sink)
    fraction = least + share * (1 - least)
    found = probabilities(family, solve_budget(family, blocks, fraction, sink), blocks)
    assert expected_fraction(found, sink) == pytest.approx(fraction, abs=1e-9)


def test_windows_are_what_they_are_called():
    kept = BlockSampler("window", 2, sink=False).sample(5)
    expected = np.tril(np.ones((5, 5))) - np.tril(np.ones((5, 5)), -2)
    assert kept.double().numpy().tolist() == expected.tolist()
    assert expected_fraction(probabilities("window", 2, 5)) == pytest.approx(9 / 15)
    assert BlockSampler("window", 2, sink=True).sample(5)[:, 0].all()


@pytest.mark.parametrize("sink", [True, False])
def test_a_fixed_number_is_drawn_in_proportion(sink):
    sampler = BlockSampler("geometric", 0.5, sink=sink, exactly=3)
    kept = torch.stack([sampler.sample(6, step) for step in range(1500)])
    assert (kept.sum(2) == torch.tensor([1, 2, 3, 3, 3, 3])).all()
    last = kept[:, 5].double().mean(0)
    if sink:  # one more is drawn of the four between, with weights 1 2 4 8
        assert last.tolist() == pytest.approx([1, 1 / 15, 2 / 15, 4 / 15, 8 / 15, 1], abs=0.05)
    else:
        weights, others = 0.5 ** np.array([5, 4, 3, 2, 1]), range(5)
        total = weights.sum()
        chance = [
            weights[i] / total + sum(weights[j] / total * weights[i] / (total - weights[j]) for j in others if j != i)
            for i in others
        ]
        assert last.tolist() == pytest.approx([*chance, 1], abs=0.05)


def test_draws_depend_on_seed_step_layer_and_head_alone():
    sampler = BlockSampler("uniform", 0.5, sink=False)
    first = sampler.sample(12, 3, 1, 2)
    torch.rand(5)
    assert torch.equal(first, sampler.sample(12, 3, 1, 2))
    others = [sampler.sample(12, 4, 1, 2), sampler.sample(12, 3, 2, 2), sampler.sample(12, 3, 1, 3)]
    others.append(BlockSampler("uniform", 0.5, sink=False, seed=1).sample(12, 3, 1, 2))
    assert not any(torch.equal(first, other) for other in others)


def test_unless_told_the_first_block_takes_part_and_all_draws_are_the_first():
    plain = BlockSampler("uniform", 0.3)
    assert plain.sink and plain.exactly is None and plain.seed == 0 and plain.sample(9)[:, 0].all()
    assert torch.equal(plain.sample(9), BlockSampler("uniform", 0.3, True, None, 0).sample(9, 0, 0, 0))
    chances = probabilities("uniform", 0.3, 9)
    assert expected_fraction(chances) == expected_fraction(chances, False) < expected_fraction(chances, True)
    assert solve_budget("uniform", 9, 0.5) == solve_budget("uniform", 9, 0.5, False)


@given(st.integers(1, 15), st.integers(1, 3), st.integers(0, 100))
def test_folding_holds_each_pair_once_in_rows_of_nearly_equal_length(blocks, heads, seed):
    kept = drawn(blocks, heads, seed=seed)
    layout = fold(kept)
    assert layout.rows.shape[1] == -(-blocks // 2)
    for head in range(heads):
        used = layout.used[head]
        pairs = list(zip(layout.rows[head][used].tolist(), layout.columns[head][used].tolist(), strict=True))
        assert sorted(pairs) == [tuple(pair) for pair in kept[head].nonzero().tolist()]
        for row in range(len(used)):
            assert set(layout.rows[head, row][used[row]].tolist()) <= {row, blocks - 1 - row}
    full = fold(torch.ones(1, blocks, blocks, dtype=torch.bool).tril())
    assert full.columns.shape[2] == (blocks + 1 if blocks > 1 else 1)


def test_a_model_keeps_its_output_with_all_blocks_and_draws_anew_with_every_call():
    model = build("transformer", vocabulary=30, width=16, layers=2, heads=2, seed=0).eval()
    tokens = torch.randint(0, 30, (2, 21), generator=torch.Generator().manual_seed(0))
    whole = with_block_attention(copy.deepcopy(model), BlockSampler("uniform", 1.0), 4)
    with torch.no_grad():
        assert torch.allclose(whole(tokens), model(tokens), atol=1e-5)
        some = with_block_attention(copy.deepcopy(model), BlockSampler("uniform", 0.2, sink=False), 4)
        first, second, third = (some(tokens) for _ in range(3))
        assert not torch.allclose(second, third)
        assert not torch.allclose(first, second) and not torch.equal(
            some.blocks[0].attention.kept, some.blocks[1].attention.kept
        )
        again = with_block_attention(copy.deepcopy(model), BlockSampler("uniform", 0.2, sink=False), 4)
        assert torch.equal(again(tokens), first)
        loud = with_block_attention(copy.deepcopy(model), BlockSampler("uniform", 0.2, sink=False), 4, unbiased=True)
        assert not torch.allclose(loud(tokens), first)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: probabilities("geometric", 1.5, 4), "parameter: 1.5 of geometric"),
        (lambda: probabilities("uniform", -0.1, 4), "leave 0 to 1"),
        (lambda: probabilities("window", 0, 4), "parameter: 0 of window"),
        (lambda: probabilities("far", 1, 4), "family: unknown name 'far'"),
        (lambda: solve_budget("window", 8, 0.5), "has no budget to solve for"),
        (lambda: solve_budget("uniform", 8, 0.1), "fraction: 0.1 is outside 0.222 to 1"),
        (lambda: BlockSampler("uniform", 0.5, exactly=0).sample(4), "exactly: is 0"),
        (lambda: fold(torch.ones(1, 3, 3, dtype=torch.bool)), "above the diagonal"),
        (lambda: folded_attention(*inputs(8), torch.zeros(3, 2, 2, dtype=torch.bool), 4), "2 by 2 with its diagonal"),
        (lambda: folded_attention(*inputs(9), torch.eye(2, dtype=torch.bool).expand(3, 2, 2), 4), "must be 3 by 3"),
    ],
)
def test_impossible_requests_are_refused(call, told):
    with pytest.raises(InputError, match=told):
        call()


@torch.no_grad()
def test_each_call_draws_anew_and_counts_itself():
    model = build("transformer", vocabulary=20, width=16, layers=1, heads=2, seed=0)
    sampler = BlockSampler("uniform", 0.5, sink=False)
    attention = with_block_attention(model, sampler, 2).blocks[0].attention
    for step in range(4):
        assert attention.step == step
        model(torch.zeros(1, 16, dtype=torch.int64))
        for head in range(2):
            assert torch.equal(attention.kept[head], sampler.sample(8, step, 0, head))


@pytest.mark.parametrize("sink", [False, True])
def test_of_exactly_one_block_each_row_sees_its_own(sink):
    kept = BlockSampler("uniform", 0.5, sink=sink, exactly=1).sample(6)
    expected = torch.eye(6, dtype=torch.bool)
    expected[:, 0] |= sink
    assert torch.equal(kept, expected)


def test_unbiased_scores_need_chances_which_exact_numbers_have_not():
    sampler = BlockSampler("geometric", 0.7, exactly=3)
    with pytest.raises(InputError, match="exactly: is 3; how likely a block is then is not known"):
        with_block_attention(loud_transformer(1), sampler, 4, unbiased=True)
    with_block_attention(loud_transformer(1), sampler, 4)
