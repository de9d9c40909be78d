"""Scores of features beside scikit-learn's F1, and a choice that is not made on what is scored."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from winnow.errors import InputError
from winnow.evaluate.property_scores import best_features, coverage, reconstruction


def pair(seed, n=60):
    generator = np.random.default_rng(seed)
    properties = generator.random((n, 3)) < (0.5, 0.2, 0.4)
    noise = generator.random((n, 5)) * (generator.random((n, 5)) < 0.5)
    # Two features follow the first property, one its opposite half, one the second; the third has none.
    noise[:, 0] += properties[:, 0] * (np.arange(n) % 2)
    noise[:, 1] += properties[:, 0] * (np.arange(n) % 2 == 0)
    noise[:, 3] += 2 * properties[:, 1]
    return noise, properties


def by_hand(first, second, thresholds, precision=None):
    found = []
    for p in range(3):
        cases = [(j, t * first[0][:, j].max()) for t in thresholds for j in range(5)]
        if precision is None:
            scores = [f1_score(first[1][:, p], first[0][:, j] > limit, zero_division=0) for j, limit in cases]
            chosen = [cases[int(np.argmax(scores))]]
        else:
            chosen = [
                (j, limit)
                for j, limit in cases
                if precision_score(first[1][:, p], first[0][:, j] > limit, zero_division=0) >= precision
            ]
        said = np.zeros(len(second[0]), bool)
        for j, limit in chosen:
            said |= second[0][:, j] > limit
        found.append(f1_score(second[1][:, p], said, zero_division=0))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_they_are_the_definitions(seed):
    first, second = pair(seed), pair(seed + 100)
    thresholds = (0.0, 0.3, 0.6, 0.9)
    assert coverage(first, second, thresholds) == pytest.approx(by_hand(first, second, thresholds), abs=1e-12)
    for precision in (0.6, 0.95):
        found = reconstruction(first, second, precision, thresholds)
        assert found == pytest.approx(by_hand(first, second, thresholds, precision), abs=1e-12)


def test_the_best_feature_is_told_with_its_threshold_and_scores_on_the_other_set():
    first, second = pair(1), pair(101)
    best = best_features(first, second, (0.0, 0.5))
    for p, (feature, limit, f1, precision) in enumerate(zip(*best, strict=True)):
        cases = [(j, t * first[0][:, j].max()) for t in (0.0, 0.5) for j in range(5)]
        scores = [f1_score(first[1][:, p], first[0][:, j] > at) for j, at in cases]
        assert (feature, limit) == cases[int(np.argmax(scores))]
        said = second[0][:, feature] > limit
        assert f1 == pytest.approx(f1_score(second[1][:, p], said), abs=1e-12)
        assert precision == pytest.approx(precision_score(second[1][:, p], said, zero_division=0), abs=1e-12)


def test_perfect_features_are_perfect_and_dead_ones_tell_nothing():
    properties = np.random.default_rng(0).random((50, 2)) < 0.3
    assert coverage((3.0 * properties, properties), (3.0 * properties, properties)).tolist() == [1, 1]
    assert reconstruction((3.0 * properties, properties), (3.0 * properties, properties)).tolist() == [1, 1]
    dead = np.zeros((50, 2))
    assert coverage((dead, properties), (dead, properties)).tolist() == [0, 0]
    assert reconstruction((dead, properties), (dead, properties)).tolist() == [0, 0]


def test_lengths_that_differ_are_named():
    first, second = pair(0), pair(1)
    with pytest.raises(InputError, match="of 60 tokens, activations of 59"):
        coverage(first, (second[0][1:], second[1]))
