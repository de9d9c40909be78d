"""Coalitions against the formula of Shapley's kernel and counts of what is drawn."""

from collections import Counter
from math import comb

import pytest
import torch

from winnow.attribution.coalitions import coalitions, shapley_kernel
from winnow.errors import InputError
from winnow.randomness import torch_generator


@pytest.mark.parametrize("d", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("samples", [1, 7, 40, 300])
def test_the_weights_of_coalitions_are_shapley_s_kernel_by_size(d, samples):
    masks, weights, draws = coalitions(d, samples, torch_generator(1))
    assert float(weights.sum()) == pytest.approx(1)
    sizes = masks.sum(1)
    assert ((sizes > 0) & (sizes < d)).all() and ((masks == 0) | (masks == 1)).all()
    fixed = draws < 0
    kernel = shapley_kernel(sizes, d)
    total = sum((d - 1) / (m * (d - m)) for m in range(1, d))
    assert torch.allclose(weights[fixed], kernel[fixed] / total)
    assert len({tuple(mask) for mask in masks[fixed].tolist()}) == int(fixed.sum())
    for size in set(sizes[fixed].tolist()):
        assert int((sizes[fixed] == size).sum()) == comb(d, int(size))
        assert size not in sizes[~fixed].tolist()
    if samples >= 2**d - 2:
        assert fixed.all() and len(masks) == 2**d - 2
    else:
        assert len(masks) <= max(samples, 2)
    for number in set(draws[~fixed].tolist()):
        one, other = masks[draws == number]
        assert (one + other == 1).all()
    assert sorted(set(draws[~fixed].tolist())) == list(range(int((~fixed).sum()) // 2))


def test_sizes_are_drawn_in_proportion_to_the_kernel_and_members_evenly():
    masks, weights, draws = coalitions(12, 4000, torch_generator(2))
    drawn = masks[draws >= 0]
    sizes = Counter(drawn.sum(1).int().tolist())
    left = sorted(sizes)
    mass = {m: 1 / (m * (12 - m)) for m in left}
    for m in left:
        expected = len(drawn) * mass[m] / sum(mass.values())
        # Five standard deviations; pairs double the variance.
        assert abs(sizes[m] - expected) < 5 * (2 * expected) ** 0.5
    assert torch.allclose(drawn.mean(0), torch.full((12,), 0.5, dtype=torch.float64), atol=1e-9)
    middle = drawn[drawn.sum(1) == left[0]]
    assert (middle.mean(0) - left[0] / 12).abs().max() < 5 * 0.5 / len(middle) ** 0.5


def test_the_kernel_is_the_formula():
    expected = [(4 - 1) / (comb(4, m) * m * (4 - m)) for m in (1, 2, 3)]
    assert shapley_kernel(torch.tensor([1, 2, 3]), 4).tolist() == pytest.approx(expected)
    assert shapley_kernel(torch.tensor([0, 4]), 4).tolist() == [float("inf")] * 2


def test_a_single_feature_has_nothing_to_share():
    with pytest.raises(InputError, match="features: there is 1; Shapley values need 2"):
        coalitions(1, 10, torch_generator(0))
