"""What each interpreter says of functions whose form is known."""

import json

import numpy as np
import pytest

from tests.evaluate.find_rows import TREES, record_of
from winnow.evaluate import find_interpreters
from winnow.evaluate import find_regression as regression
from winnow.evaluate.find_benchmark import family_of, interpret, overlap, scored
from winnow.evaluate.find_interpreters import INTERPRETERS, Answers, Memoriser, TemplateRegression
from winnow.randomness import numpy_generator
from winnow.workloads import find_numeric


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree[0])
def test_a_family_is_found_from_its_own_answers(tree):
    # Of 64 inputs, those next to a jump lie so far apart that another wave gives the same answers.
    x = np.sort(numpy_generator(0, "many inputs").uniform(-128, 128, 256))
    y = find_numeric.values(tree, x)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    fits = regression.single_fits(x, y, regression.noise_scale(y, np.zeros(3)))
    grid = find_numeric.half_integers()
    assert regression.exact(fits[0], 1e-2)
    assert family_of(find_numeric.describe(fits[0].tree)) == family_of(find_numeric.describe(tree))
    found, true = (find_numeric.values(t, grid) for t in (fits[0].tree, tree))
    seen = np.isfinite(true)
    assert np.sum((found - true)[seen] ** 2) < 0.1 * np.sum(true[seen] ** 2)


def test_a_stretch_is_found_only_where_it_is_sought_and_its_ends_are_near():
    spec = {"tree": ["linear", 2.0, 3.0], "noise": None}
    spec["corruption"] = {"side": "inside", "low": -60.0, "high": -38.0, "level": 3.0}
    record = record_of(spec["tree"]) | {"spec": json.dumps(spec), "domain": json.dumps([-60.0, -38.0])}
    aware, calls = interpret(record, TemplateRegression("template_interval", intervals=True), 64, 0)
    assert calls <= 64 and overlap([-60.0, -38.0], aware.domain) > 0.9
    assert "but near 3" in aware.description and "if " in aware.code
    unaware, _ = interpret(record, TemplateRegression(), 64, 0)
    assert unaware.domain is None


def test_second_terms_are_sought_in_the_answers_that_the_first_were_fitted_to(monkeypatch):
    """Also where the rounded ends of a stretch lie beyond answers next to it."""
    asked = []

    def watched(singles, x, y, delta):
        asked.append([len(fit.residuals) - len(x) for fit in singles])
        return []

    monkeypatch.setattr(regression, "exact", lambda fit, delta: False)
    monkeypatch.setattr(regression, "pair_fits", watched)
    monkeypatch.setattr(find_interpreters, "_end", lambda *_: 17.0)  # an end that parts the answers elsewhere
    spec = {"tree": ["linear", 2.0, 3.0], "noise": None}
    spec["corruption"] = {"side": "inside", "low": -60.0, "high": -38.0, "level": 3.0}
    record = record_of(spec["tree"]) | {"spec": json.dumps(spec), "domain": json.dumps([-60.0, -38.0])}
    said, _ = interpret(record, TemplateRegression("template_interval", intervals=True), 64, 0)
    assert said.domain == (17.0, 17.0) and len(asked) == 1 and set(asked[0]) == {0}


def test_a_short_stretch_is_found_though_nearly_all_answers_fit_and_its_ends_get_all_queries_that_are_left(monkeypatch):
    spec = {"tree": ["linear", 2.0, 3.0], "noise": None}
    spec["corruption"] = {"side": "inside", "low": -60.0, "high": -49.0, "level": 3.0}
    record = record_of(spec["tree"]) | {"spec": json.dumps(spec), "domain": json.dumps([-60.0, -49.0])}

    def two_inside_of_44(function, generator):
        x = np.linspace(-126, 126, 44)
        return Answers(x, function.query(x), np.zeros(3))

    monkeypatch.setattr(find_interpreters, "random_queries", two_inside_of_44)
    said, calls = interpret(record, TemplateRegression("seeing", adaptive=False, intervals=True), 64, 0)
    assert 44 + 8 < calls <= 64 and np.abs(np.subtract(said.domain, [-60, -49])).max() < 0.11
    blind, _ = interpret(record, TemplateRegression("blind", adaptive=False), 64, 0)
    assert blind.domain is None and "linear" in blind.description


@pytest.mark.parametrize("interpreter", INTERPRETERS, ids=lambda i: i.name)
@pytest.mark.parametrize("budget", [8, 64])
def test_every_interpreter_keeps_its_budget_and_says_code_that_runs(interpreter, budget):
    records = [record_of(tree) for tree in (TREES[4], TREES[13], TREES[0])]
    for row in scored(records, [(interpreter, budget)], budget, 0, lambda done, total: None):
        assert row["calls"] <= budget and row["reason"] == ""


def test_a_memoriser_joins_its_answers_by_lines():
    record = record_of(["absolute", 2.0, 0.0, 1.0])
    row = scored([record], [(Memoriser(), 64)], 64, 0, lambda done, total: None)[0]
    assert row["success"] and not row["short_success"] and row["nodes"] > 40
