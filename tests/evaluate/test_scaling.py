"""Counts of known work, times by a clock of our own, and exponents of powers."""

import itertools

import numpy as np
import pytest
import torch

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate.scaling import by_size, censored_line, exponent, measured


def test_work_is_counted_and_the_least_of_three_times_is_told():
    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    runs = itertools.count()

    def run():
        next(runs)
        return torch.ones(2, 3) @ torch.ones(3, 4)

    found = measured(run, lambda: next(ticks))
    assert (found.work, found.largest, found.seconds) == (24 + 18, 12, 2.0) and next(runs) == 4
    assert found.result.tolist() == [[3.0] * 4] * 2
    assert measured(lambda: torch.ones(5), None)[1:] == (5, 5, None)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.9])
def test_the_exponent_is_that_of_a_power(power):
    sizes = [10, 20, 50, 400]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power, abs=1e-9)
    assert exponent([1, *sizes], [None, *(size**power for size in sizes)]) == pytest.approx(power, abs=1e-9)


def test_one_point_has_no_exponent():
    assert exponent([1, 2], [3.0, None]) != exponent([1, 2], [3.0, None])


def test_a_line_for_each_kind():
    rows = [{"kind": kind, "tokens": n, "value": n * v} for kind, v in (("slow", 2.0), ("fast", 1.0)) for n in (4, 8)]
    shown = drawn(by_size(rows, "work", "method"))
    assert {(row["kind"], row["tokens"], row["mean"]) for row in shown} == {
        ("slow", 4, 8), ("slow", 8, 16), ("fast", 4, 4), ("fast", 8, 8),
    }  # fmt: skip
    with pytest.raises(InputError, match="no work"):
        by_size([], "work", "method")


def test_a_line_through_known_values_is_that_of_least_squares():
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    found = censored_line(x, y, np.zeros(9, bool))
    assert found == {
        "slope": pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-6),
        "r2": pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-6),
    }
    assert censored_line(x, np.full(9, 2.0), np.zeros(9, bool)) == {"slope": pytest.approx(0), "r2": 0.0}
    assert np.isnan(censored_line(x[:3], y[:3], np.array([False, False, True]))["r2"])


def test_a_lower_limit_counts_where_the_line_lies_below_it():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    above = x == 3
    kept = censored_line(x, np.array([1.0, 3.0, 5.0, 5.5]), above)  # the line says 7
    assert kept == {"slope": pytest.approx(2), "r2": pytest.approx(1)}
    y = np.array([1.0, 3.0, 5.0, 9.0])  # 7 is too little, so the limit is met as a value
    assert censored_line(x, y, above)["slope"] == pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-6)
