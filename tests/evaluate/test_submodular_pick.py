"""The pick against every set of its size; words and descriptors against their definitions."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.evaluate.segments import grid
from winnow.evaluate.submodular_pick import coverage_of, describe_regions, submodular_pick, visual_words, word_weights


def coverage_by_hand(weights, chosen):
    total = 0.0
    for column in range(weights.shape[1]):
        if any(abs(weights[image, column]) > 0 for image in chosen):
            total += np.sqrt(np.abs(weights[:, column]).sum())
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_the_pick_is_greedy_and_within_its_bound_of_the_best_set(seed, budget):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(9, 7)) * (rng.random((9, 7)) < 0.3)
    chosen, coverage = submodular_pick(weights, budget)
    taken = []
    for image, covered in zip(chosen.tolist(), coverage, strict=True):
        gains = {i: coverage_by_hand(weights, [*taken, i]) for i in range(9) if i not in taken}
        assert image in gains and gains[image] == pytest.approx(max(gains.values()))
        taken.append(image)
        assert covered == pytest.approx(coverage_by_hand(weights, taken)) == coverage_of(weights, taken)
    best = max(coverage_by_hand(weights, some) for some in combinations(range(9), budget))
    assert coverage[-1] >= (1 - 1 / np.e) * best - 1e-9


def test_of_equal_gains_the_first_image_is_taken_and_none_twice():
    assert submodular_pick(np.ones((4, 3)), 4)[0].tolist() == [0, 1, 2, 3]
    for budget in (0, 5):
        with pytest.raises(InputError, match=f"budget is {budget}; pick 1 to the 4"):
            submodular_pick(np.ones((4, 3)), budget)


def test_descriptors_are_what_they_say():
    rng = np.random.default_rng(0)
    image = rng.normal(120, 3, (20, 30))
    image[:, 12:18] = 20 + rng.normal(0, 0.1, (20, 6))  # an even dark stripe behind a bright one
    image[:, 6:12] = 220
    labels = np.zeros((20, 30), int)
    labels[:, 6:12], labels[:, 12:18], labels[:, 18:] = 1, 2, 3
    labels[10:, 18:] = 4
    found = describe_regions(image, labels)
    grey = (image - image.min()) / np.ptp(image)
    for k in range(5):
        assert found[k, 0] == pytest.approx(grey[labels == k].mean())
        assert found[k, 1] == pytest.approx(grey[labels == k].std(), abs=1e-7)
        assert found[k, 3] == pytest.approx((labels == k).mean())
    # Side 20 over 6: standard deviations of a line of pixels, and of a pixel itself.
    assert found[1, 2] == pytest.approx(1 - 6 / 20) and found[4, 2] == pytest.approx(1 - 10 / 12)
    assert found[2, 4] == pytest.approx(grey[labels == 2].mean() - grey[:, 8:12].mean())
    assert found[0, 4] == 0  # nothing lies before it
    assert found[:, 5].tolist() == [0, 0, 1, 0, 0]
    assert np.allclose(describe_regions(np.stack([image] * 3, -1), labels), found)
    assert (describe_regions(np.ones((4, 4)), grid(np.ones((4, 4)), 4))[:, [0, 1, 4, 5]] == 0).all()


def test_words_are_clusters_of_standardised_descriptors():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [5, 0, 1000], [0, 8, 0], [5, 8, -1000]], float)
    kind = rng.integers(0, 4, 80)
    words = visual_words(centres[kind] + rng.normal(0, 0.1, (80, 3)) * [1, 1, 100], 4)
    assert len({(k, w) for k, w in zip(kind, words, strict=True)}) == 4 and sorted(set(words)) == [0, 1, 2, 3]
    assert (visual_words(np.repeat(centres, 3, 0), 20) < 4).all()  # no more than differ
    assert (visual_words(np.ones((5, 2)), 3) == 0).all()


def test_weights_of_regions_are_summed_over_their_words():
    weights = [np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.0])]
    assert word_weights(weights, np.array([0, 2, 0, 1, 2])).tolist() == [[4, 0, 2], [0, 0.5, 0]]
