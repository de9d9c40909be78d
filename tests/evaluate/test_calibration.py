import numpy as np
import pytest

from winnow.errors import InputError
from winnow.evaluate.calibration import reliability_table


def random_predictions(n=200, classes=4):
    generator = np.random.default_rng(0)
    return generator.dirichlet(np.ones(classes), n), generator.integers(0, classes, n)


@pytest.mark.parametrize("bins", [1, 3, 10, 15])
def test_each_bin_holds_the_rows_of_its_confidence(bins):
    probabilities, labels = random_predictions()
    table = reliability_table(probabilities, labels, bins).to_pylist()
    assert len(table) == bins
    for number, row in enumerate(table):
        low, high = number / bins, (number + 1) / bins
        inside = [(p, y) for p, y in zip(probabilities, labels, strict=True) if low < p.max() <= high]
        assert (row["low"], row["high"], row["count"]) == (
            pytest.approx(low),
            pytest.approx(high),
            len(inside),
        )
        if inside:
            assert row["confidence"] == pytest.approx(np.mean([p.max() for p, _ in inside]))
            assert row["accuracy"] == pytest.approx(np.mean([p.argmax() == y for p, y in inside]))
        else:
            assert row["confidence"] is None and row["accuracy"] is None


def test_fifteen_bins_by_default_and_edges_belong_to_the_lower_bin():
    assert reliability_table(*random_predictions()).num_rows == 15
    sure = reliability_table(np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]), np.array([0, 1, 1]), 2)
    assert sure["count"].to_pylist() == [1, 2]
    assert sure["accuracy"].to_pylist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("probabilities", "labels", "bins", "message"),
    [
        ([0.5, 0.5], [0], 5, "shape"),
        ([[0.5, 0.5]], [0, 1], 5, "shape"),
        (np.ones((0, 2)), [], 5, "shape"),
        ([[2.0, -1.0]], [0], 5, "softmax"),
        ([[0.5, 0.6]], [0], 5, "softmax"),
        ([[np.nan, 0.6]], [0], 5, "softmax"),
        (np.full((2, 2, 2), 0.5), [0, 1], 5, "shape"),
        ([[0.5, 0.5, 0.0], [-0.2, 0.6, 0.6]], [0, 1], 5, "softmax"),
        ([[0.5, 0.5], [1.00005, 0.0]], [0, 1], 5, "softmax"),
        ([[0.5, 0.5]] * 3, [0, 1, 2], 5, "labels must be from 0 to 1"),
        ([[0.5, 0.5]] * 3, [0, 1, -1], 5, "labels must be from 0 to 1"),
        ([[0.5, 0.5]], [2], 5, "labels must be from 0 to 1"),
        ([[0.5, 0.5]], [-1], 5, "labels must be from 0 to 1"),
        ([[0.5, 0.5]], [0], 0, "bins at least 1"),
    ],
)
def test_bad_input_is_named(probabilities, labels, bins, message):
    with pytest.raises(InputError, match=message):
        reliability_table(np.array(probabilities), np.array(labels), bins)
