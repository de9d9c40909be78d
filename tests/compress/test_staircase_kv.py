"""Caches of few bits beside torch's attention, closed forms of their levels, and bounds of rounding."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from winnow.compress.staircase_kv import (
    FullCache,
    KIVICache,
    SegmentCache,
    StaircaseCache,
    mixed,
    quantise,
    reverse,
    spread,
    staircase,
)
from winnow.errors import InputError

LEVELS = (16, 8, 4, 2)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(cache, length, seed=0, chunk=1, heads=1):
    keys, values = numbers(2, heads, length, 8, seed=seed), numbers(2, heads, length, 8, seed=seed + 1)
    for first in range(0, length, chunk):
        cache.append(keys[:, :, first : first + chunk], values[:, :, first : first + chunk])
    return cache, keys, values


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.sampled_from([2, 3]), st.sampled_from([2, 4, 8]), st.integers(0, 99))
@example(8, 3, 2, 63)  # two numbers that are neighbours among those of 16 bits
def test_rounding_is_within_half_a_step_of_numbers_of_16_bits(bits, axis, group, seed):
    x = (numbers(2, 3, 8, 16, seed=seed) * 3 + 1).half().float()
    found = quantise(x, bits, axis, group)
    assert found.packed.numel() == x.numel() * bits // 8
    assert found.scale.numel() == found.zero.numel() == x.numel() // group
    half = (found.scale.float() / 2).repeat_interleave(group, axis)
    assert found.scale.dtype == found.zero.dtype == torch.float16
    # A step below 2^-14, the least normal number of 16 bits, is stored to 2^-25, which adds up over the steps of a run.
    beyond = torch.where(half < 2**-15, (2**bits - 1) * 2.0**-25, 0.0)
    assert ((found.dense() - x).abs() <= half + beyond + 1e-6).all()
    # The steps are no wider than they need be, within what float16 rounds.
    spans = x.unflatten(axis, (-1, group)).amax(axis + 1) - x.unflatten(axis, (-1, group)).amin(axis + 1)
    assert torch.allclose(found.scale.float() * (2**bits - 1), spans, rtol=2**-11, atol=2**-15)


def test_rounding_of_a_plain_run_is_as_by_hand():
    x = torch.tensor([0.0, 1.0, 1.6, 3.0]).view(1, 1, 4, 1)
    found = quantise(x, 2, 2, 4)
    assert found.dense().flatten().tolist() == [0, 1, 2, 3]
    assert found.scale.item() == 1 and found.zero.item() == 0
    assert quantise(x, 1, 2, 2).dense().flatten().tolist() == pytest.approx([0, 1, 1.6, 3], abs=1e-3)


def test_numbers_that_are_all_alike_stay():
    x = torch.full((1, 1, 4, 4), -2.5)
    assert torch.equal(quantise(x, 1, 2, 4).dense(), x)


def test_keys_are_grouped_along_tokens_and_values_along_channels():
    cache, keys, values = filled(KIVICache(3, segment=4, group=2), 4)
    (segment,) = cache.segments
    assert segment.keys.scale.shape == (2, 1, 2, 8) and segment.values.scale.shape == (2, 1, 4, 4)
    assert torch.equal(segment.keys.zero, keys.half().unflatten(2, (2, 2)).amin(3))
    assert torch.equal(segment.values.zero, values.half().unflatten(3, (4, 2)).amin(4))


def test_a_head_of_fewer_channels_than_a_group_is_one_group():
    cache, _, _ = filled(KIVICache(3, segment=16, group=16), 16)
    assert cache.segments[0].values.scale.shape == (2, 1, 16, 1)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("length", [1, 7, 32])
def test_a_full_cache_is_torchs_attention(length, heads):
    query = numbers(2, 4, 1, 8, seed=9)
    for cache, cast in ((StaircaseCache((32,)), torch.float32), (FullCache(), torch.float16)):
        _, keys, values = filled(cache, length, heads=heads)
        keys, values = (part.to(cast).float() for part in (keys, values))
        expected = scaled_dot_product_attention(query, keys, values, enable_gqa=True)
        assert torch.allclose(cache.attend(query), expected, atol=1e-6, rtol=0)
        assert cache.bytes() == (keys.numel() + values.numel()) * (4 if cast == torch.float32 else 2)
        assert cache.bit_map().tolist() == [32 if cast == torch.float32 else 16] * length


def test_more_bits_come_nearer_to_the_full_cache():
    query, errors = numbers(2, 4, 1, 8, seed=9), []
    full, _, _ = filled(FullCache(32), 40)
    for bits in (1, 2, 4, 8):
        cache, _, _ = filled(KIVICache(bits), 40)
        errors.append(float((cache.attend(query) - full.attend(query)).abs().max()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 5e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 70), st.sampled_from([(16, 8, 4, 2), (16, 4, 2), (16, 3), (32, 8, 6, 4, 3, 2)]), st.booleans())
def test_levels_follow_from_age(length, levels, chain):
    cache = StaircaseCache(levels, segment=8, group=4, mode="chain" if chain else "direct")
    filled(cache, length, chunk=1 if chain else 13)
    quantised = length // 8 * 8
    expected = [
        levels[min(1 + (quantised - 1 - token) // 8, len(levels) - 1)] if token < quantised else levels[0]
        for token in range(length)
    ]
    assert cache.bit_map().tolist() == expected


def test_bytes_are_those_of_bits_scales_and_the_rest():
    cache, _, _ = filled(StaircaseCache(LEVELS, segment=8, group=4), 45)
    numbers_a_segment = 2 * 2 * 8 * 8  # keys and values, two sequences, tokens, channels
    bits = numbers_a_segment * (8 + 4 + 2 + 2 + 2)
    scales = 5 * numbers_a_segment // 4 * 32
    assert cache.bytes() == (bits + scales) // 8 + 5 * 2 * 2 * 8 * 2


@pytest.mark.parametrize("make", [staircase, reverse, spread])
def test_a_prompt_is_as_a_stream_where_numbers_are_rounded_from_themselves(make):
    settings_of = {"segment": 4, "group": 2, "mode": "direct"}
    stream, keys, values = filled(SegmentCache(make(LEVELS[1:]), **settings_of), 27)
    chunks, _, _ = filled(SegmentCache(make(LEVELS[1:]), **settings_of), 27, chunk=10)
    prompt = SegmentCache(make(LEVELS[1:]), **settings_of)
    prompt.prefill(keys, values)
    query = numbers(2, 4, 1, 8, seed=3)
    for other in (chunks, prompt):
        assert torch.equal(stream.bit_map(), other.bit_map()) and stream.bytes() == other.bytes()
        assert torch.equal(stream.attend(query), other.attend(query))


def test_a_chain_rounds_what_was_rounded_and_leaves_the_tail():
    cache, keys, _ = filled(StaircaseCache(LEVELS, segment=4, group=4), 20)
    oldest = keys[:, :, :4].half().float()
    for bits in (8, 4, 2):
        oldest = quantise(oldest, bits, 2, 4).dense()
    assert torch.equal(cache.segments[-1].keys.dense(), oldest)
    direct, _, _ = filled(StaircaseCache(LEVELS, segment=4, group=4, mode="direct"), 20)
    expected = quantise(keys[:, :, :4].half(), 2, 2, 4).dense()
    assert torch.equal(direct.segments[-1].keys.dense(), expected) and not torch.equal(oldest, expected)


@pytest.mark.parametrize("segments", [1, 2, 3, 5, 8, 20])
def test_orders_of_levels_are_of_the_same_bits(segments):
    wanted = sorted(staircase((8, 4, 2))(segments))
    assert sorted(reverse((8, 4, 2))(segments)) == sorted(spread((8, 4, 2))(segments)) == wanted
    assert reverse((8, 4, 2))(segments)[-1] == 8


def test_spread_levels_lie_at_even_distances():
    assert spread((8, 4, 2))(9) == [2, 2, 2, 8, 2, 2, 4, 2, 2]
    assert spread((4, 2))(8) == [2, 2, 2, 2, 4, 2, 2, 2]
    assert spread((3,))(3) == [3, 3, 3]


def test_unless_told_sixteen_tokens_share_four_bits_and_older_ones_two():
    cache, _, _ = filled(StaircaseCache(), 40)
    assert cache.bit_map().tolist() == [2] * 16 + [4] * 16 + [16] * 8
    assert cache.mode == "chain" and cache.segments[0].keys.scale.shape == (2, 1, 1, 8)
    single, _, _ = filled(KIVICache(), 40)
    assert single.bit_map().tolist() == [2] * 32 + [16] * 8 and single.segments[0].keys.scale.shape == (2, 1, 1, 8)
    plain, _, _ = filled(SegmentCache(staircase((3,))), 17)
    assert plain.bit_map().tolist() == [3] * 16 + [16] and plain.group == 16 and plain.mode == "chain"
    assert filled(FullCache(), 3)[0].bit_map().tolist() == [16] * 3


@pytest.mark.parametrize("levels", [(), (8, 4), (16, 4, 4), (16, 2, 4), (16, 9), (16, 0), (32, 16, 4)])
def test_levels_that_do_not_fall_are_refused(levels):
    with pytest.raises(InputError, match="levels is"):
        StaircaseCache(levels)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: StaircaseCache(segment=10, group=4), "segment is 10"),
        (lambda: StaircaseCache(segment=0), "segment is 0"),
        (lambda: StaircaseCache(group=0), "multiple of group, 0"),
        (lambda: SegmentCache(staircase((4,)), mode="both"), "'both'"),
        (lambda: SegmentCache(staircase((4,)), exact=8), "exact is 8"),
        (lambda: quantise(torch.ones(1, 1, 4, 4), 9, 2, 4), "bits is 9"),
        (lambda: quantise(torch.ones(1, 1, 4, 4), 0, 2, 4), "bits is 0"),
        (lambda: quantise(torch.ones(1, 1, 4, 4), 4, 2, 3), "group is 3"),
        (lambda: quantise(torch.ones(1, 1, 4, 4), 4, 2, 0), "group is 0"),
        (lambda: quantise(torch.full((1, 1, 4, 4), 1e6), 4, 2, 4), "float16 cannot hold"),
        (lambda: quantise(torch.tensor([-6e4, 6e4]).view(1, 1, 2, 1), 1, 2, 2), "float16 cannot hold"),
    ],
)
def test_other_input_is_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_a_prompt_comes_first():
    for length in (3, 8):
        cache, keys, values = filled(KIVICache(2, segment=8, group=4), length)
        with pytest.raises(InputError, match="not empty"):
            cache.prefill(keys, values)


@pytest.mark.parametrize(
    ("levels", "segments"), [((4, 2), 8), ((4, 2), 7), ((8, 4, 2), 7), ((8, 4, 2), 8), ((4, 2), 3)]
)
def test_mixed_widths_have_the_bits_of_a_staircase_and_stay(levels, segments):
    schedule = mixed(levels, segments)
    bits = schedule(segments)
    assert sum(bits) == sum(staircase(levels)(segments)) and max(bits) - min(bits) <= 1
    for count in range(1, segments + 1):
        assert schedule(count) == bits[segments - count :]  # a segment keeps what it was born with
    cache, _, _ = filled(SegmentCache(schedule, segment=4, group=4), 4 * segments)
    assert cache.bit_map().view(segments, 4)[:, 0].tolist() == bits[::-1]
