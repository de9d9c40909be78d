"""RISE is checked by its expectation over all masks of a linear function, and by a function of one block alone."""

import pytest
import torch

from winnow.attribution.perturbation import every_mask
from winnow.attribution.rise import coarse_masks, rise
from winnow.errors import InputError


def test_over_all_masks_a_linear_function_gives_its_expectation_where_a_pixel_is_visible():
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 2, 2, 3, generator=generator).double()
    masks = every_mask(6).view(-1, 2, 3)
    found = rise(lambda rows: (rows * w).sum((1, 2, 3)), x[None], masks, 0.5)
    # E[f(x m) | m_j = 1] = own share of j + half of all the others'.
    own = (x * w).sum(0)
    assert torch.allclose(found[0], own + (own.sum() - own) / 2, atol=1e-12)


def test_hidden_pixels_show_the_baseline_and_each_row_its_own_target():
    x, masks = torch.ones(2, 1, 1, 2).double(), torch.tensor([[[1.0, 0.0]]]).double()
    outputs = []

    def f(rows):
        outputs.append(rows.clone())
        return torch.stack([rows[:, 0, 0, 0], 10 * rows[:, 0, 0, 1]], dim=1)

    found = rise(f, x, masks, 0.25, baseline=3.0, target=torch.tensor([0, 1]))
    assert outputs[0].flatten(1).tolist() == [[1.0, 3.0], [1.0, 3.0]]
    assert found.tolist() == [[[4.0, 0.0]], [[120.0, 0.0]]]


@pytest.mark.parametrize("height, width, cells, share", [(28, 28, 7, 0.5), (20, 31, 4, 0.3), (5, 5, 5, 0.7)])
def test_masks_lie_between_0_and_1_and_each_pixels_mean_is_the_share(height, width, cells, share):
    masks = coarse_masks(4000, height, width, cells=cells, share=share, seed=1)
    assert masks.shape == (4000, height, width) and masks.min() >= 0 and masks.max() <= 1
    # A pixel's deviation is at most that of a coin: five standard errors.
    assert (masks.mean(0) - share).abs().max() < 5 * (share * (1 - share) / 4000) ** 0.5
    assert torch.equal(masks, coarse_masks(4000, height, width, cells=cells, share=share, seed=1))
    assert not torch.equal(masks, coarse_masks(4000, height, width, cells=cells, share=share, seed=2))


def test_masks_are_smooth_over_a_cell_and_shifted():
    masks = coarse_masks(500, 28, 28, cells=7, share=0.5)
    # Bilinear enlargement by 4 moves at most 1 / 4 from pixel to pixel.
    assert masks.diff(dim=1).abs().max() <= 0.25 + 1e-12 and masks.diff(dim=2).abs().max() <= 0.25 + 1e-12
    # Plateaus end at other pixels in other masks: each of the first four columns begins some slope.
    begins = (masks.diff(dim=2)[:, :, 1:5] != 0) & (masks.diff(dim=2)[:, :, :4] == 0)
    assert begins.any(dim=(0, 1)).all()
    apart = masks.diff(dim=1).abs().flatten(1).amax(1)
    assert (apart > 0).float().mean() > 0.99


def test_the_map_is_highest_on_the_block_that_the_function_reads():
    x = torch.ones(1, 3, 16, 16)
    masks = coarse_masks(2000, 16, 16, cells=4, seed=3)
    found = rise(lambda rows: rows[:, :, 4:8, 8:12].mean((1, 2, 3)), x, masks, 0.5)[0]
    row, column = divmod(int(found.argmax()), 16)
    assert 4 <= row < 8 and 8 <= column < 12


@pytest.mark.parametrize("changes", [{"cells": 0}, {"cells": 9}, {"share": 0.0}, {"share": 1.0}, {"count": 0}])
def test_masks_that_cannot_be_are_refused(changes):
    with pytest.raises(InputError, match="cells"):
        coarse_masks(**{"count": 3, "height": 8, "width": 12} | changes)
