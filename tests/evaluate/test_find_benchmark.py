"""Fits find what generated the answers, and scores are what the definitions say."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import optimize, stats

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import find_charts, find_study
from winnow.evaluate import find_regression as regression
from winnow.evaluate.find_benchmark import family_of, interpret, nodes, overlap, score_numeric, scored
from winnow.evaluate.find_interpreters import INTERPRETERS, Interpretation, Memoriser, TemplateRegression, said
from winnow.pipeline.tables import metric_rows
from winnow.randomness import numpy_generator
from winnow.sandbox import Outcome
from winnow.workloads import find_numeric
from winnow.workloads.find_functions import Shares, numeric_functions, numeric_record

X = np.sort(numpy_generator(0, "inputs").uniform(-128, 128, 64))
TREES = [
    ["constant", 5.0],
    ["linear", 2.5, -7.0],
    ["polynomial", 1.0, 2.0, -0.5, 0.3],
    ["absolute", 3.0, -12.3, 4.0],
    ["root", 3.0, -12.3, 4.0],
    ["logarithm", 3.0, -12.3, 4.0],
    ["step", 3.0, 10.0, 4.0],
    ["relu", 3.0, 0.4, -12.3, 4.0],
    ["tanh", 10.0, 0.2, 5.0, 4.0],
    ["sin", 10.0, 0.7, 1.0, 4.0],
    ["reciprocal", 5.0, 3.3, 4.0],
    ["gaussian", 20.0, 11.0, 9.0, 4.0],
    ["rectangle", 9.0, -30.0, 25.0, 4.0],
    ["square_wave", 9.0, 40.0, 12.0, 4.0],
]


def record_of(tree, complication="clean", seed=0):
    return numeric_record("one", tree, complication, numpy_generator(seed, "record"))


def test_linear_fits_are_those_of_scipys_robust_least_squares():
    generator = numpy_generator(1, "columns")
    columns = np.stack([generator.normal(size=(40, 3)) * 100, generator.normal(size=(40, 3))])
    y = columns[0] @ np.array([1.0, -2.0, 0.5]) + generator.normal(size=40)
    y[:6] += 500
    found, costs = regression.solve(columns, y, 2.0, 200)
    for c in range(2):
        theirs = optimize.least_squares(
            lambda b, c=c: y - columns[c] @ b, np.zeros(3), loss="soft_l1", f_scale=2.0, xtol=1e-14, ftol=1e-14
        )
        np.testing.assert_allclose(found[c], theirs.x, rtol=1e-3, atol=1e-3)
        # scipy's cost is half the sum of 2 s^2 (root - 1).
        assert costs[c] == pytest.approx(theirs.cost / 4 / 40, rel=1e-6)


def test_columns_that_are_not_finite_cost_infinity():
    columns = np.ones((2, 5, 1))
    columns[0, 2] = np.nan
    assert np.isinf(regression.solve(columns, np.arange(5.0), 1.0, 2)[1]).tolist() == [True, False]


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


def test_a_fit_bears_a_seventh_of_wrong_answers():
    y = find_numeric.values(TREES[2], X)
    y[20:29] = 3.0
    fits = regression.single_fits(X, y, regression.noise_scale(y, np.zeros(3)))
    right = np.delete(np.arange(64), np.arange(20, 29))
    # A fit need not be nearer than delta, a thousandth of the answers' spread.
    assert np.abs(fits[0].residuals[right]).max() < 4e-3 * np.subtract(*np.percentile(y, [75, 25]))


@pytest.mark.parametrize("name", ["sum", "product"])
def test_two_terms_are_found(name):
    tree = [name, ["linear", 2.0, 3.0], ["step", 80.0, 60.0, 5.0]]
    y = find_numeric.values(tree, X)
    delta = regression.noise_scale(y, np.zeros(3))
    single = regression.single_fits(X, y, delta)
    assert not regression.exact(single[0], delta)
    best = regression.pair_fits(single, X, y, delta)[0]
    assert regression.exact(best, delta)


def test_a_stretch_is_found_only_where_it_is_sought_and_its_ends_are_near():
    spec = {"tree": ["linear", 2.0, 3.0], "noise": None}
    spec["corruption"] = {"side": "inside", "low": -60.0, "high": -38.0, "level": 3.0}
    record = record_of(spec["tree"]) | {"spec": json.dumps(spec), "domain": json.dumps([-60.0, -38.0])}
    aware, calls = interpret(record, TemplateRegression("template_interval", intervals=True), 64, 0)
    assert calls <= 64 and overlap([-60.0, -38.0], aware.domain) > 0.9
    assert "but near 3" in aware.description and "if " in aware.code
    unaware, _ = interpret(record, TemplateRegression(), 64, 0)
    assert unaware.domain is None


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


def test_mcnemars_p_is_the_exact_one_of_scipy():
    pairs = [(True, False)] * 9 + [(False, True)] * 2 + [(True, True)] * 5
    assert find_study.mcnemar(pairs) == pytest.approx(stats.binomtest(9, 11).pvalue)
    assert find_study.mcnemar([(True, True)]) == 1


def test_the_audit_confirms_a_library_and_finds_wrong_labels():
    records = numeric_functions(30, 0, Shares(0.3, 0.3, 0.1, 0.2))
    assert all(find_study.confirmed(records, 0))
    noisy = next(r for r in records if r["complication"] == "noise")
    clean = next(r for r in records if r["complication"] == "clean")
    wrong = [
        noisy | {"complication": "clean"},
        clean | {"complication": "noise"},
        clean | {"complication": "approximation"},
        clean | {"code": "def f(x):\n    return 0.0\n"},
    ]
    assert not any(find_study.confirmed(wrong, 0))


def row(interpreter, success, **more):
    plain = {"kind": "numeric", "budget": 64, "twin_of": "", "complication": "clean", "composed": False, "reason": ""}
    return plain | {"interpreter": interpreter, "success": success, "function_id": "a"} | more


def test_summaries_leave_twins_to_the_pairs_they_are_of():
    spoiled = [row("template", True, complication="corruption", inside=i, function_id=f"f{i}") for i in (True, False)]
    twins = [row("template", True, twin_of=f"f{i}", function_id=f"t{i}") for i in (True, False)]
    aware = [r | {"interpreter": "template_interval", "inside": True} for r in [*spoiled, *twins]]
    rows = [row("template", False), *spoiled, *twins, row("template_interval", False), *aware]
    found = find_study.summaries(rows)
    assert found["template-numeric-64"]["success"] == pytest.approx(2 / 3)
    assert found["template-numeric-64"]["gap"] == 0.5 and found["template-numeric-64"]["success_clean"] == 0
    assert found["template_interval-numeric-64"]["gap_closed"] == 1


def test_charts_draw_what_the_tables_hold():
    values = {"success": 0.5, "success_clean": 0.75, "inside": 0.25, "outside": 1.0}
    tables = [
        metric_rows(
            values, system="find_benchmark", variant=f"template-numeric-{q}", workload="w", seed=s, split="test"
        )
        for q in (16, 64)
        for s in (0, 1)
    ]
    bars = drawn(find_charts.success_bars(pa.concat_tables(tables), 64))
    assert {(r["on"], r["mean"]) for r in bars} == {
        ("clean", 0.75),
        ("corrupted: inside", 0.25),
        ("corrupted: outside", 1),
    }
    lines = drawn(find_charts.budget_lines(pa.concat_tables(tables)))
    assert {(r["budget"], r["mean"]) for r in lines if "budget" in r} == {(16, 0.5), (64, 0.5)}
    record = record_of(["linear", 2.0, 0.0])
    rows = scored([record], [(TemplateRegression(), 16)], 16, 0, lambda done, total: None)
    curves = find_study.error_curves([record], rows, 1)
    assert len(curves) == 512 and len(drawn(find_charts.worst_curves(pa.Table.from_pylist(curves)))) == 512
    with pytest.raises(InputError, match="run the stage"):
        find_charts.success_bars(pa.concat_tables(tables), 32)
