"""Explainers side by side, of a model and units whose reasons are planted."""

import numpy as np
import pytest

from tests.evaluate.probe_sets import probe_set
from winnow.evaluate.concept_explainers import explained_classes, explained_units, summary
from winnow.evaluate.concept_probes import Explanation, direction

NAMES = tuple("abcdefgh")


def test_a_class_is_explained_by_the_concept_that_its_logit_rises_with():
    probe, truth = probe_set()
    told = Explanation(np.arange(16.0).reshape(2, 8), np.zeros(2), np.array([0, 4]), 1.0)
    gradients = {0: np.tile(truth[1], (30, 1)), 4: np.tile(-truth[2], (30, 1))}
    concepts = [1, 2, 5]
    vectors, rows = explained_classes(probe, told, concepts, NAMES, gradients, draws=39, seed=0)
    assert np.allclose(vectors[1], direction(probe, 2).vector)
    found = {(row["class"], row["concept"]): row for row in rows}
    assert list(found) == [(c, name) for c in (0, 4) for name in "bcf"]
    assert found[0, "b"]["coefficient"] == 1 and found[4, "f"]["coefficient"] == 13
    assert found[0, "b"]["tcav"] == 1 and found[4, "c"]["tcav"] == 0
    # Gradients are all alike, so directions of shuffled concepts reach 0 or 1 as well: nothing is significant.
    assert found[0, "b"]["p"] == 1
    assert found[0, "b"]["basis"] > 0.8 * np.linalg.norm(truth[1]) and found[0, "b"]["residual"] < 0.2
    assert found[4, "c"]["basis"] == 0


def test_units_are_named_by_the_concept_whose_mask_they_lie_on():
    generator = np.random.default_rng(0)
    masks = np.zeros((20, 8, 12, 12), bool)
    masks[:, 3, 2:5, 2:5] = True
    masks[:, 6, 8:10, :6] = True
    activations = 0.1 * generator.random((20, 3, 12, 12)).astype(np.float32)
    activations[:, 0][masks[:, 6]] += 1
    activations[:, 1][masks[:, 3]] += 1
    # The threshold leaves half a hundredth of all places: .005 * 144 of 12 or 9 places of the mask.
    units = explained_units(activations, masks, NAMES)
    assert [row["concept"] for row in units] == ["g", "d", None]
    assert units[0]["iou"] == pytest.approx(0.005 * 144 / 12, rel=0.1) and units[2]["iou"] == 0
    classes = [
        {"class": c, "p": p, "residual": r} for c, p, r in ((0, 0.01, 0.5), (0, 0.5, 0.5), (1, 0.04, 0.1), (1, 1, 0.1))
    ]
    expected = {"tcav_significant": 0.5, "basis_residual": 0.3, "units_named": 2 / 3}
    assert summary(classes, units) == pytest.approx(expected)
