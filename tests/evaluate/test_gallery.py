"""The gallery is checked on a linear model, whose explanations are known, and by the order of its images."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.evaluate.gallery import METHODS, Scene, choose, explanation_maps, lime_regions
from winnow.evaluate.segments import grid


class TwoClasses(nn.Module):
    """A layer of maps that copies a grey image's light and dark, and logits +-sum(w x)."""

    def __init__(self, w):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.output = nn.Linear(2 * w.numel(), 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            # relu(x) - relu(-x) is x.
            both = torch.cat([w.flatten(), -w.flatten()])
            self.output.weight.copy_(torch.stack([both, -both]))

    def forward(self, x):
        return self.output(self.flatten(self.relu(self.conv(x))))


def scene(target=(0, 0, 1), samples=400):
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(12, 8, generator=generator) / 10
    x = torch.randn(3, 1, 12, 8, generator=generator)
    ends = (torch.full((1, 1, 1, 1), -5.0), torch.full((1, 1, 1, 1), 5.0))
    regions = [grid(np.zeros((12, 8)), 6)] * 3
    return w, Scene(TwoClasses(w).eval(), x, torch.tensor(target), "relu", ends, regions, samples, 7)


@cache
def maps_with(target=(0, 0, 1)):
    return explanation_maps(scene(target)[1])


def test_maps_of_a_linear_model_are_what_each_pixel_or_region_contributes():
    w, linear = scene()
    maps = maps_with()
    sign = torch.tensor([1.0, 1.0, -1.0]).view(3, 1, 1)
    own = sign * w * linear.x[:, 0]
    assert list(maps) == list(METHODS)
    assert all(found.shape == (3, 12, 8) and found.dtype == torch.float32 for found in maps.values())
    assert all(bool(torch.isfinite(found).all()) for found in maps.values())
    # float32 sums of some hundred terms of size .1
    for name in ("gradient x input", "integrated gradients", "LRP epsilon", "path at a layer", "occlusion"):
        assert torch.allclose(maps[name], own, atol=1e-5), name
    assert torch.allclose(maps["gradient"], (sign * w).expand(3, -1, -1), atol=1e-6)
    regions = torch.from_numpy(linear.regions[0]).long()
    sums = torch.stack([torch.zeros(6).index_add(0, regions.flatten(), one.flatten()) for one in own])
    assert torch.allclose(maps["KernelSHAP"], sums[:, regions], atol=1e-5)
    # C-LIME draws noise: its error of a mean over 200 pairs is below a third of the contributions' norm.
    assert (maps["C-LIME"] - sums[:, regions]).norm() < maps["C-LIME"].norm() / 3


def test_relevance_is_never_negative_under_zplus_and_masks_are_centred():
    maps = maps_with()
    assert maps["LRP z+"].min() >= 0 and maps["LRP z+"].max() > 0
    assert not torch.equal(maps["LRP z+"], maps["LRP z+, z^B"])
    assert maps["RISE"].mean(dim=(1, 2)).abs().max() < 1e-6
    assert maps["Grad-CAM"].min() >= 0 and maps["LayerCAM"].max() <= 1


def test_every_map_speaks_for_the_target_and_changes_its_sign_with_it():
    """Of two opposite logits one loses what the other gains; what a method draws stays the same."""
    one, other = maps_with((0, 0, 0)), maps_with((1, 1, 1))
    for name in ("gradient", "SmoothGrad", "occlusion", "RISE", "LIME", "KernelSHAP", "C-LIME"):
        assert torch.allclose(one[name], -other[name], atol=1e-5), name


def test_limes_regions_are_those_of_its_map():
    _, linear = scene()
    found, maps = lime_regions(linear), maps_with()
    for one, labels, values, target in zip(found, linear.regions, maps["LIME"], linear.target.tolist(), strict=True):
        assert torch.allclose(torch.from_numpy(one.weight)[torch.from_numpy(labels).long()].float(), values)
        assert one.target == target and 0 < one.r2 <= 1


def test_a_layer_without_maps_is_refused_by_name():
    _, linear = scene()
    with pytest.raises(InputError, match="flatten"):
        explanation_maps(linear._replace(layer="flatten", samples=50))


def test_right_images_come_class_by_class_and_wrong_ones_last():
    labels = np.array([1, 1, 0, 2, 0, 2, 1])
    predicted = np.array([1, 0, 0, 2, 0, 1, 1])
    assert choose(predicted, labels, 4, 1).tolist() == [2, 0, 3, 1]
    assert choose(predicted, labels, 6, 2).tolist() == [2, 0, 3, 4, 1, 5]
    assert choose(predicted, labels, 3, 0).tolist() == [2, 0, 3]
    assert choose(labels, labels, 3, 1).tolist() == [2, 0, 3]
    assert choose(predicted, labels, 50, 50).tolist() == [2, 0, 3, 4, 6, 1, 5]
