"""Scores are what the definitions say."""

import json

import numpy as np
import pytest

from tests.evaluate.find_rows import TREES, record_of
from winnow.evaluate.find_benchmark import family_of, nodes, overlap, score_numeric
from winnow.evaluate.find_interpreters import Interpretation, said
from winnow.sandbox import Outcome
from winnow.workloads import find_numeric


def test_scores_are_those_of_the_definitions():
    record = record_of(["linear", 2.0, 0.0], "corruption", 3)
    low, high = json.loads(record["domain"])
    x = find_numeric.half_integers()
    true = find_numeric.truth(json.loads(record["spec"]), x)
    inside = (x > low) & (x < high)
    exact = Interpretation(record["description"], record["code"], (low, high), 1.0)
    scores = score_numeric(record, exact, Outcome("ok", true.tolist(), ""))
    assert scores["nmse"] == 0 and scores["success"] and scores["inside"] and scores["outside"]
    assert scores["overlap"] == 1 and scores["family_right"] and scores["median_relative"] == 0
    clean = said(["linear", 2.0, 0.0], None, 1.0)
    scores = score_numeric(record, clean, Outcome("ok", (2 * x).tolist(), ""))
    assert scores["nmse"] == pytest.approx(np.sum((2 * x - true) ** 2) / np.sum(true**2))
    assert not scores["inside"] and scores["outside"] and scores["overlap"] == 0 and inside.any()
    failed = score_numeric(record, clean, Outcome("limit", [], "TimeLimit"))
    assert not failed["success"] and failed["reason"] == "TimeLimit" and failed["inside"] is False
    text = score_numeric(record, clean, Outcome("ok", ["a"] * 256, ""))
    assert not text["success"] and text["reason"].startswith("TypeError")


@pytest.mark.parametrize("side", ["below", "inside", "above"])
def test_an_error_beside_the_stretch_is_outside_and_one_within_it_inside(side):
    record = record_of(["linear", 2.0, 0.0], "corruption", 3)
    low, high = json.loads(record["domain"])
    x = find_numeric.half_integers()
    wrong = {"below": x <= low, "inside": (x > low) & (x < high), "above": x >= high}[side]
    assert wrong.any()
    answers = find_numeric.truth(json.loads(record["spec"]), x) + 1e4 * wrong
    scores = score_numeric(record, said(["linear", 2.0, 0.0], None, 1.0), Outcome("ok", answers.tolist(), ""))
    assert (scores["inside"], scores["outside"]) == (side != "inside", side == "inside")


def test_relative_errors_are_of_what_is_finite_and_not_nothing(monkeypatch):
    x = find_numeric.half_integers()
    true = np.where(np.arange(len(x)) < 100, np.nan, np.where(np.arange(len(x)) < 200, 0.0, 1.0))
    true[200:230] = -1.0
    monkeypatch.setattr(find_numeric, "truth", lambda spec, x: true)
    found = np.where(true == 0, 3.0, 1.5 * true)
    found[200:210] = np.nan  # which is the largest of errors
    scores = score_numeric(record_of(TREES[0]), said(TREES[0], None, 1.0), Outcome("ok", found.tolist(), ""))
    assert scores["median_relative"] == pytest.approx(0.5) and scores["inside"] is scores["outside"] is None
    found[200:] = np.nan
    scores = score_numeric(record_of(TREES[0]), said(TREES[0], None, 1.0), Outcome("ok", found.tolist(), ""))
    assert scores["median_relative"] == np.inf


def test_the_threshold_is_strict():
    record = record_of(["constant", 10.0])
    for factor, success in ((1 + np.sqrt(0.1) * 1.0001, False), (1 + np.sqrt(0.1) * 0.9999, True)):
        outcome = Outcome("ok", [10 * factor] * 256, "")
        assert score_numeric(record, said(["constant", 1.0], None, 1.0), outcome)["success"] == success


def test_overlaps_are_counted_within_the_domain():
    assert overlap(None, None) is None
    assert overlap([0, 10], None) == overlap(None, [0, 10]) == overlap([0, 10], [20, 30]) == 0
    assert overlap([0, 10], [5, 15]) == pytest.approx(1 / 3)
    assert overlap([-129, -100], [-300, -100]) == 1


def test_size_and_family_are_read_from_code_and_words():
    assert nodes("def f(x):\n    return x") == 6  # module, function, arguments, argument, return, name
    assert nodes("def f(") == 0
    words = find_numeric.describe(["sum", ["sin", 1.0, 2.0, 3.0, 4.0], ["square_wave", 1.0, 2.0, 3.0, 4.0]])
    assert family_of(words) == "sine square wave"
