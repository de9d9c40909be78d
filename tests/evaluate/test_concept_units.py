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


def test_a_planted_combination_of_concepts_is_decomposed_again():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(20, 32)) * generator.uniform(0.1, 9, (20, 1))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = np.zeros(20)
    truth[[3, 8, 15]] = [2.0, 0.5, 1.0]
    found, residual = basis_decomposition(truth @ unit, vectors)
    assert np.allclose(found, truth, atol=1e-6) and residual < 1e-12
    one, left = basis_decomposition(truth @ unit, vectors, most=1)
    assert np.count_nonzero(one) == 1 and one[3] > 0
    best = max((truth @ unit) @ u for u in unit)
    assert left == pytest.approx(1 - best**2 / np.sum((truth @ unit) ** 2))
    opposed, all_left = basis_decomposition(-unit[0], unit[:1])
    assert opposed.tolist() == [0] and all_left == pytest.approx(1)
    with pytest.raises(InputError, match="weights of 0"):
        basis_decomposition(np.zeros(32), vectors)
