"""Shares inside a region, by hand."""

import pytest
import torch

from winnow.attribution.regions import energy_share, top_share
from winnow.errors import InputError
from winnow.randomness import torch_generator

MAPS = torch.rand(6, 8, 10, generator=torch_generator(1, "maps"))


def test_shares_inside_a_region_by_hand():
    maps = torch.zeros(2, 4, 5)
    inside = torch.zeros(2, 4, 5, dtype=torch.bool)
    inside[:, :1] = True
    maps[0, 0, 1], maps[0, 3, 3], maps[0, 2, 2] = -3.0, 4.0, 1.0
    shares = energy_share(maps, inside)
    assert shares.tolist() == pytest.approx([9 / 26, 5 / 20])  # a map of zeros counts as an even one
    assert top_share(maps, inside, 0.1)[0] == 0.5  # of the two largest magnitudes, one lies inside
    assert top_share(maps, inside, 0.01)[0] == 0.0  # at least one pixel is looked at
    assert top_share(maps, inside, 1.0).tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: top_share(MAPS, MAPS > 0.5, 0.0), "top is 0"),
        (lambda: top_share(MAPS, MAPS > 0.5, 1.5), "top is 1.5"),
        (lambda: energy_share(MAPS, MAPS[:2] > 0.5), "give both one shape"),
        (lambda: top_share(MAPS, MAPS[:2] > 0.5), "give both one shape"),
    ],
)
def test_bad_regions_are_refused_in_one_line(call, words):
    with pytest.raises(InputError, match=words):
        call()
