"""Dissection is counted pixel by pixel; a planted combination of concepts is found again."""

import numpy as np
import pytest

from winnow.errors import InputError
from winnow.evaluate.concept_units import basis_decomposition, dissect


def test_dissection_is_the_overlap_counted_pixel_by_pixel():
    generator = np.random.default_rng(0)
    activations = generator.random((40, 3, 4, 4)).astype(np.float32)
    masks = generator.random((40, 2, 4, 4)) < 0.3
    masks[:, 1] = activations[:, 2] > np.quantile(activations[:, 2], 0.9)
    found = dissect(activations, masks, quantile=0.1, least=0.0)
    for unit in range(3):
        on = activations[:, unit] > np.quantile(activations[:, unit], 0.9)
        for k in range(2):
            expected = (on & masks[:, k]).sum() / (on | masks[:, k]).sum()
            assert found[unit, k] == pytest.approx(expected)
    assert found[2, 1] == 1 and dissect(activations, masks, 0.1, least=0.5)[0, 0] == 0
    large = dissect(activations, masks.repeat(3, axis=2).repeat(3, axis=3), quantile=0.1)
    assert large.argmax(axis=0)[1] == 2


def test_a_unit_is_enlarged_bilinearly_before_it_is_held_against_its_threshold():
    """Between the centres of two places the map runs straight: 0, 1/4, 3/4, 1 on four pixels."""
    ramp, masks = np.array([[[[0.0, 1.0]]]], np.float32), np.zeros((1, 3, 1, 4), bool)
    masks[0, 0, 0, 2:] = masks[0, 1, 0, 3:] = masks[0, 2, 0, 1:] = True
    assert dissect(ramp, masks, quantile=0.3, least=0).tolist() == [[1.0, 0.5, 2 / 3]]  # above 0.7
    assert dissect(ramp, masks, quantile=0.2, least=0).tolist() == [[0.5, 1.0, 1 / 3]]  # above 0.8
    assert dissect(ramp, masks, quantile=0.2, least=0.5).tolist() == [[0.5, 1.0, 0.0]]


@pytest.mark.parametrize("n", [3, 100])
def test_few_and_many_images_are_counted_alike_and_what_never_shows_matches_nothing(n):
    generator = np.random.default_rng(1)
    activations = generator.random((n, 3, 6, 7)).astype(np.float32)
    activations[:, 1] = 2.0  # a unit that never varies is above no threshold
    masks = generator.random((n, 3, 6, 7)) < 0.02
    masks[:, 2] = False
    with np.errstate(all="raise"):
        found = dissect(activations, masks, least=0.0)
    on = activations > np.quantile(activations, 0.995, axis=(0, 2, 3))[:, None, None]
    for unit in range(3):
        for k in range(3):
            union = (on[:, unit] | masks[:, k]).sum()
            expected = (on[:, unit] & masks[:, k]).sum() / union if union else 0
            assert found[unit, k] == pytest.approx(expected)
    assert (found[1] == 0).all() and (found[:, 2] == 0).all()


def test_the_usual_match_is_of_the_two_hundredth_of_places_that_are_strongest_and_a_twenty_fifth_of_the_union():
    activations, masks = np.arange(400.0).reshape(1, 1, 20, 20), np.zeros((1, 3, 1, 400), bool)
    masks[0, 0, 0, -50:] = masks[0, 1, 0, -51:] = masks[0, 2, 0, -2:] = True
    assert dissect(activations, masks.reshape(1, 3, 20, 20)).tolist() == [[0.04, 0.0, 1.0]]  # two of 400 are on


def test_one_pixel_in_common_is_a_match():
    activations, masks = np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), bool)
    activations[0, 0, 1, 0], masks[0, 0, 1, 0] = 1, True
    assert dissect(activations, masks, quantile=0.2).tolist() == [[1.0]]


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e6])
def test_concepts_are_added_one_by_one_and_all_are_weighed_again(scale):
    """Vectors at 0, 90 and 40 degrees, the class at 45: 40 degrees come first, then 90 make it exact."""

    def at(degrees):
        return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])

    vectors, weight = np.stack([at(0), 3 * at(90), 0.2 * at(40)]), scale * at(45)
    one, left = basis_decomposition(weight, vectors, most=1)
    assert one == pytest.approx([0, 0, scale * np.cos(np.radians(5))]) and left == pytest.approx(
        np.sin(np.radians(5)) ** 2
    )
    found, none = basis_decomposition(weight, vectors)
    by_sines = np.sin(np.radians([5, 45])) / np.sin(np.radians(50))
    assert found == pytest.approx([0, *(scale * by_sines)]) and none < 1e-12
    assert np.count_nonzero(found) == 2


def test_ten_concepts_are_the_most_and_all_are_used_where_there_are_fewer():
    weight = np.arange(1.0, 13.0)
    found, left = basis_decomposition(weight, np.eye(12))
    assert found == pytest.approx([0, 0, *range(3, 13)]) and left == pytest.approx((1 + 4) / np.square(weight).sum())
    few, rest = basis_decomposition(weight, np.eye(12)[[11, 3]])
    assert few == pytest.approx([12, 4]) and rest == pytest.approx(1 - (144 + 16) / np.square(weight).sum())


def test_a_planted_combination_of_concepts_is_decomposed_again():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(20, 32)) * generator.uniform(0.1, 9, (20, 1))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = np.zeros(20)
    truth[[3, 8, 15]] = [2.0, 0.5, 1.0]
    found, residual = basis_decomposition(truth @ unit, vectors)
    assert np.allclose(found, truth, atol=1e-6) and residual < 1e-12
    assert np.count_nonzero(found) == 3  # nothing is added to make up for rounding
    one, left = basis_decomposition(truth @ unit, vectors, most=1)
    assert np.count_nonzero(one) == 1 and one[3] > 0
    best = max((truth @ unit) @ u for u in unit)
    assert left == pytest.approx(1 - best**2 / np.sum((truth @ unit) ** 2))
    opposed, all_left = basis_decomposition(-unit[0], unit[:1])
    assert opposed.tolist() == [0] and all_left == pytest.approx(1)
    with pytest.raises(InputError, match="weights of 0"):
        basis_decomposition(np.zeros(32), vectors)
