"""The audit of a library, and summaries of what interpreters said."""

import pytest
from scipy import stats

from tests.evaluate.find_rows import row
from winnow.evaluate import find_study
from winnow.workloads.find_functions import Shares, numeric_functions


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


def test_summaries_leave_twins_to_the_pairs_they_are_of():
    spoiled = [row("template", True, complication="corruption", inside=i, function_id=f"f{i}") for i in (True, False)]
    twins = [row("template", True, twin_of=f"f{i}", function_id=f"t{i}") for i in (True, False)]
    aware = [r | {"interpreter": "template_interval", "inside": True} for r in [*spoiled, *twins]]
    rows = [row("template", False), *spoiled, *twins, row("template_interval", False), *aware]
    found = find_study.summaries(rows)
    assert found["template-numeric-64"]["success"] == pytest.approx(2 / 3)
    assert found["template-numeric-64"]["gap"] == 0.5 and found["template-numeric-64"]["success_clean"] == 0
    assert found["template_interval-numeric-64"]["gap_closed"] == 1


def test_summaries_compare_outside_with_inside_and_take_medians_of_relative_errors():
    rows = [
        row("relations", False, kind="relation", inside=inside, outside=True, median_relative=error)
        for inside, error in ((False, 0.5), (False, 0.1), (True, float("inf")))
    ]
    found = find_study.summaries(rows)["relations-relation-64"]
    assert found["gap_within"] == pytest.approx(2 / 3) and found["median_relative"] == 0.5
    failed = find_study.summaries([row("constant", False, median_relative=float("inf"))])["constant-numeric-64"]
    assert "gap_within" not in failed and "median_relative" not in failed
