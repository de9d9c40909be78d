"""Scores of classes are those of scikit-learn; the paired bootstrap is that of scipy."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from winnow.train.class_scores import class_scores, confusion, macro_f1, macro_f1_gain


def guesses(seed, n=120, classes=4, right=0.6):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=[0.55, 0.25, 0.15, 0.05])
    return labels, np.where(rng.random(n) < right, labels, rng.integers(0, classes, n))


@pytest.mark.parametrize("seed", range(4))
def test_confusion_and_scores_are_scikit_learns(seed):
    labels, predicted = guesses(seed)
    table = confusion(labels, predicted, 4)
    assert np.array_equal(table, confusion_matrix(labels, predicted, labels=range(4)))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    found = class_scores(table)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert np.allclose(found[name], expected, atol=1e-12)
    assert macro_f1(table) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_a_class_that_is_never_there_or_never_said_scores_0():
    table = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    found = class_scores(table)
    assert found["precision"].tolist() == [1, 0.5, 0] and found["recall"].tolist() == [0.5, 1, 0]
    assert found["f1"][2] == 0
    stacked = class_scores(np.stack([table, table.T]))
    assert np.array_equal(stacked["recall"][1], found["precision"])


def test_the_gain_and_its_interval_are_those_of_scipys_paired_bootstrap():
    labels, one = guesses(0, n=150, right=0.8)
    _, other = guesses(0, n=150, right=0.5)

    def difference(t, a, b):
        return f1_score(t, a, average="macro") - f1_score(t, b, average="macro")

    gain, low, high = macro_f1_gain(labels, one, other, 4, seed=0)
    assert gain == pytest.approx(difference(labels, one, other))
    expected = stats.bootstrap(
        (labels, one, other), difference, paired=True, vectorized=False, n_resamples=600, method="percentile",
        random_state=1,
    ).confidence_interval  # fmt: skip
    # Both ends are quantiles of some hundred draws: a few per cent of the interval's width apart.
    width = expected.high - expected.low
    assert abs(low - expected.low) < 0.12 * width and abs(high - expected.high) < 0.12 * width


def test_a_classifier_gains_nothing_over_itself_and_the_seed_decides_the_draws():
    labels, one = guesses(3)
    _, other = guesses(4)
    assert macro_f1_gain(labels, one, one, 4, seed=0) == (0, 0, 0)
    assert macro_f1_gain(labels, one, other, 4, seed=5) == macro_f1_gain(labels, one, other, 4, seed=5)
    gain, low, high = macro_f1_gain(labels, one, other, 4, seed=5)
    back = macro_f1_gain(labels, other, one, 4, seed=5)
    assert back == pytest.approx((-gain, -high, -low)) and low < gain < high
