"""Calibration and Brier scores are their definitions, bin by bin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow.workloads.supervised import brier_score, expected_calibration_error


def slow_calibration(probabilities, labels, bins):
    """Guo et al., equation 3, one bin at a time; bin m is ((m-1)/M, m/M]."""
    total = 0.0
    for m in range(1, bins + 1):
        rows = [
            (max(p), np.argmax(p) == y)
            for p, y in zip(probabilities, labels, strict=True)
            if (m - 1) / bins < max(p) <= m / bins
        ]
        if rows:
            total += len(rows) * abs(np.mean([hit for _, hit in rows]) - np.mean([c for c, _ in rows]))
    return total / len(labels)


def slow_brier(probabilities, labels):
    return np.mean(
        [sum((q - (k == y)) ** 2 for k, q in enumerate(p)) for p, y in zip(probabilities, labels, strict=True)]
    )


@given(
    arrays(float, st.tuples(st.integers(1, 30), st.integers(2, 4)), elements=st.floats(0.01, 1)),
    st.randoms(use_true_random=False),
)
def test_calibration_and_brier_are_their_definitions(weights, random):
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    labels = np.array([random.randrange(probabilities.shape[1]) for _ in probabilities])
    # A confidence on the very edge of a bin falls by rounding.
    edges = np.arange(16) / 15
    if (abs(probabilities.max(1)[:, None] - edges) > 1e-12).all():
        found = expected_calibration_error(probabilities, labels)
        assert found == pytest.approx(slow_calibration(probabilities, labels, 15), abs=1e-9)
    assert brier_score(probabilities, labels) == pytest.approx(slow_brier(probabilities, labels), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 40])
def test_every_bin_counts_from_hardly_sure_to_certain(classes):
    rng = np.random.default_rng(classes)
    sharpness = np.linspace(0, 30, 300)[:, None]
    weights = np.exp(sharpness * rng.random((300, classes)))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    labels = rng.integers(0, classes, 300)
    used = np.histogram(probabilities.max(1), bins=15, range=(0, 1))[0] > 0
    assert used[1 if classes == 40 else 8 :].all()
    found = expected_calibration_error(probabilities, labels)
    assert found == pytest.approx(slow_calibration(probabilities, labels, 15), abs=1e-12)


def test_the_brier_score_of_two_classes_is_twice_sklearns():
    from sklearn.metrics import brier_score_loss

    p = np.random.default_rng(0).random(50)
    y = np.random.default_rng(1).integers(0, 2, 50)
    assert brier_score(np.stack([1 - p, p], 1), y) == pytest.approx(2 * brier_score_loss(y, p, scale_by_half=True))


def test_calibration_of_a_sure_model_is_its_error_and_edges_belong_to_the_bin_below():
    sure = np.eye(2)[[0, 0, 0, 1]]
    assert expected_calibration_error(sure, np.array([0, 0, 1, 1])) == pytest.approx(0.25)
    # .8 right and .6 wrong: with 5 bins .8 closes (.6, .8] and .6 closes (.4, .6]; in one bin they cancel.
    p = np.array([[0.8, 0.2], [0.6, 0.4]])
    assert expected_calibration_error(p, np.array([0, 1]), bins=5) == pytest.approx((0.2 + 0.6) / 2)
    assert expected_calibration_error(p, np.array([0, 1]), bins=1) == pytest.approx(0.2)
