"""Rotations beside complex numbers, and what must not change."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.models.rotary import rotated


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("interleaved", [False, True])
@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 3000))
def test_the_product_of_rotated_vectors_depends_on_their_distance_alone(interleaved, m, n, shift):
    query, key = normal(1, 8, seed=1), normal(1, 8, seed=2)

    def score(m, n):
        places = torch.tensor([m]), torch.tensor([n])
        turned = [rotated(x, at, interleaved=interleaved) for x, at in zip((query, key), places, strict=True)]
        return (turned[0] * turned[1]).sum()

    assert abs(score(m, n) - score(m + shift, n + shift)) < 1e-11
    assert torch.allclose(rotated(query, torch.tensor([m])).norm(), query.norm(), atol=1e-12)


@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_interleaved_pairs_turn_as_complex_numbers_do(base):
    x, positions = normal(2, 5, 6), torch.arange(3, 8)
    rates = base ** (-np.arange(0, 6, 2) / 6)
    turned = torch.view_as_complex(x.unflatten(-1, (3, 2))).numpy() * np.exp(1j * np.arange(3, 8)[:, None] * rates)
    expected = torch.view_as_real(torch.from_numpy(turned)).flatten(-2)
    assert torch.allclose(rotated(x, positions, base, interleaved=True), expected, atol=1e-12, rtol=0)


def test_halves_are_the_same_rotation_of_other_pairs():
    x = normal(2, 3, 7, 8)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    places = torch.arange(7)
    assert torch.equal(rotated(x[..., order], places, interleaved=True), rotated(x, places)[..., order])


@given(st.integers(0, 40), st.integers(1, 9))
def test_without_positions_they_count_from_zero_and_a_part_is_turned_to_the_same_bits(first, length):
    x = normal(2, 50, 8, dtype=torch.float32)
    part = slice(first, first + length)
    assert torch.equal(rotated(x)[:, part], rotated(x[:, part], torch.arange(first, first + length)))


def test_each_row_may_have_positions_of_its_own():
    x, places = normal(2, 1, 3, 8), torch.tensor([[0, 1, 2], [5, 6, 9]])
    turned = rotated(x, places[:, None])
    for row in range(2):
        assert torch.equal(turned[row], rotated(x[row], places[row]))


def test_heads_side_by_side_or_one_after_another_are_turned_to_the_same_bits_as_by_halves():
    # As the linear layers give them, [n, t, heads, d], and laid out as they are indexed.
    side_by_side = normal(2, 7, 3, 8, dtype=torch.float32).transpose(1, 2)
    angles = torch.arange(7, dtype=torch.float64)[:, None] * 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    cosine, sine = angles.cos().float(), angles.sin().float()
    first, second = side_by_side[..., :4], side_by_side[..., 4:]
    expected = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    for x in (side_by_side, side_by_side.contiguous()):
        before = x.clone()
        assert torch.equal(rotated(x), expected)
        assert torch.equal(rotated(x, torch.arange(7)), expected)
        assert torch.equal(x, before)


def test_gradients_are_turned_back():
    x, gradient = normal(2, 3, 7, 8).requires_grad_(), normal(2, 3, 7, 8, seed=1)
    (found,) = torch.autograd.grad(rotated(x), x, gradient)
    assert torch.allclose(rotated(found), gradient, atol=1e-12)


def test_an_odd_head_is_named():
    with pytest.raises(InputError, match="a head has 3 dimensions; give an even number"):
        rotated(normal(2, 3), torch.arange(2))
