"""Scenes: kinds share attributes, planted sets differ in one factor alone, distributions shift in a straight line."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from winnow.errors import InputError
from winnow.workloads.part_pictures import picture
from winnow.workloads.part_scenes import (
    COLOURED,
    PLANTED,
    SKEWED,
    UNIFORM,
    classes_of,
    draw_scenes,
    kind_attributes,
    shifted,
)
from winnow.workloads.parts import nearest

SIDE = 96


def attributes(scene, part):
    look = scene.looks.get(part)
    return None if look is None else (nearest(look.hue), look.texture, look.shape, look.contrast)


@pytest.mark.parametrize("part", COLOURED)
def test_no_attribute_of_a_part_tells_the_kind_alone_and_all_together_do(part):
    kinds = [kind_attributes(k) for k in range(8)]
    for which in range(3):
        seen = [kind[part][which] for kind in kinds]
        assert min(seen.count(value) for value in seen) >= 2
        assert len(set(seen)) >= 2
    assert len({tuple(kind[p] for p in COLOURED) for kind in kinds}) == 8


def test_most_attributes_follow_the_kind_and_some_do_not():
    scenes = draw_scenes(160, seed=0)
    same = [
        found == own
        for scene in scenes
        for part in COLOURED
        if part in scene.looks
        for found, own in zip(attributes(scene, part), kind_attributes(scene.label)[part], strict=False)
    ]
    assert 0.88 < np.mean(same) < 0.96  # 0.9, and 0.1 times the chance to hit the kind's own


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_set_differs_in_one_factor_of_one_part_and_in_nothing_else(planted):
    classes = classes_of(planted)
    scenes = draw_scenes(48 * len(classes), seed=1, planted=planted, part="wing")
    factor = {"hue": 0, "texture": 1, "confounded": 1, "shape": 2, "contrast": 3}.get(planted)
    for label in range(len(classes)):
        mine = [s for s in scenes if s.label == label]
        assert len(mine) == 48 and all(s.occluder is None for s in mine)
        wings = [attributes(s, "wing") for s in mine]
        if planted == "absence":
            assert all((wing is None) == (label == 1) for wing in wings)
            continue
        assert len({wing[factor] for wing in wings}) == 1
        for free in {0, 1, 2} - {factor} - ({0} if planted == "confounded" else set()):
            assert len({wing[free] for wing in wings}) >= 3
        # The other parts know nothing of the class.
        assert len({attributes(s, "body")[:3] for s in mine}) > 20
    if factor is not None:
        told = {attributes(s, "wing")[factor] for s in scenes}
        assert len(told) == len(classes)
    if planted == "confounded":
        assert {attributes(s, "wing")[0] for s in scenes} == {"red"}


def test_drawing_is_the_same_for_two_classes_but_for_what_is_planted():
    scene = draw_scenes(1, seed=0, planted="hue")[0]
    other = replace(scene, looks=scene.looks | {"wing": replace(scene.looks["wing"], hue=0.5)})
    first, second = picture(scene, SIDE), picture(other, SIDE)
    changed = (first.pixels != second.pixels).any(axis=2)
    assert changed.sum() > 50 and not (changed & ~binary_dilation(first.seen["wing"], iterations=2)).any()


def test_the_shifted_distribution_goes_from_uniform_to_skewed_in_a_straight_line():
    assert shifted(0.0) == replace(UNIFORM, **{k: tuple(np.array(getattr(UNIFORM, k)) / n) for k, n in weights()})
    end = shifted(1.0)
    assert end.hue == pytest.approx(np.array(SKEWED.hue) / sum(SKEWED.hue))
    assert (end.noise, end.contrast, end.twig) == (SKEWED.noise, SKEWED.contrast, SKEWED.twig)
    half = shifted(0.5)
    assert half.noise == pytest.approx(0.04) and half.saturation == pytest.approx((0.45, 0.85))
    with pytest.raises(InputError, match="shift strength is 1.5"):
        shifted(1.5)


def weights():
    return [(name, len(getattr(UNIFORM, name))) for name in ("hue", "texture", "shape", "background")]
