"""Charts of a recipe for code: what arms gain over the raw pool, what stays after each step, and why files go."""

import pyarrow as pa
import pytest
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate import opencoder_charts as charts
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows

BITS = {("raw", 0): 6.0, ("raw", 1): 7.0, ("exact", 0): 5.5, ("exact", 1): 6.7, ("file", 0): 6.25, ("file", 1): 7.25}


def bits(split="held_out"):
    labels = {"system": "opencoder", "workload": "w", "split": split}
    return pa.concat_tables(
        [metric_rows({"bits_per_token": v}, variant=arm, seed=seed, **labels) for (arm, seed), v in BITS.items()]
    )


def test_an_arm_is_its_difference_from_the_raw_pool_of_the_same_seed():
    chart = charts.ablation(pa.concat_tables([bits(), bits("valid")]))
    found = {r["arm"]: r for r in drawn(chart) if "arm" in r}
    assert {name: row["mean"] for name, row in found.items()} == pytest.approx(
        {"without exact copies": -0.4, "without near files": 0.25}
    )
    interval = stats.ttest_1samp([-0.5, -0.3], 0).confidence_interval(0.95)
    exact = found["without exact copies"]
    assert (exact["low"], exact["high"]) == pytest.approx((interval.low, interval.high))
    assert [r for r in drawn(chart) if "at" in r] == [{"at": 0}]
    assert spans(chart) == {("low", "high")} and sorts(chart) == [list(charts.NAMES.values())]
    assert titles(chart) == {"bits a token, less those of the raw pool (below 0 is better)"}


def steps():
    names = list(charts.STEPS)
    told = [{"arm": "pool", "step": s, "files_in": 7 - i, "files_out": 6 - i} for i, s in enumerate(names[:3])]
    told += [{"arm": "downsample", "step": s, "files_in": 9 - i, "files_out": 8 - i} for i, s in enumerate(names[3:])]
    return pa.Table.from_pylist([*told, {"arm": "exact", "step": "exact", "files_in": 99, "files_out": 98}])


def test_files_that_stay_stand_step_by_step_below_the_pool():
    chart = charts.funnel(steps())
    assert [(r["step"], r["files"]) for r in drawn(chart)] == [
        ("raw table", 7),
        ("unreadable files", 6),
        ("packages held out", 5),
        ("what is near to these", 4),
        ("with forks", 9),
        ("exact copies", 8),
        ("near copies", 7),
        ("headers", 6),
        ("filter", 5),
        ("down-sampling", 4),
    ]
    assert titles(chart) == {"after", "files"}


def dropped():
    told = [("downsample", "filter", "short_file"), ("downsample", "downsample", "test_file")]
    told += [("downsample", "filter", "mean_word")] * 2 + [
        ("downsample", "near", "near_copy"),
        ("exact", "filter", "a"),
    ]
    return pa.Table.from_pylist([{"arm": arm, "step": step, "reason": reason} for arm, step, reason in told])


def test_reasons_stand_from_the_most_frequent_on():
    chart = charts.reasons(dropped())
    found = [(r["reason"], r["files"]) for r in drawn(chart)]
    assert found == [("mean word", 2), ("short file", 1), ("test file", 1)]
    assert titles(chart) == {"first reason", "files"}


def judged():
    told = [(None, 5, 0.9), ("mean_line", 3, 0.8), ("mean_line", 2, 0.8), ("letters", 9, 0.1), ("lines", 6, 0.7)]
    rows = [{"dropped_by": why, "mean_line": a, "letters": b, "lines": 1.0} for why, a, b in told]
    return pa.Table.from_pylist([*rows, {"dropped_by": None, "mean_line": 1.0, "letters": None, "lines": 1.0}])


def test_files_stand_by_the_two_signals_that_drop_most():
    chart = charts.signal_map(judged())
    assert [(r["x"], r["y"], r["fate"]) for r in drawn(chart)] == [
        (5, 0.9, "kept"),
        (3, 0.8, "mean line"),
        (2, 0.8, "mean line"),
        (9, 0.1, "letters"),
        (6, 0.7, "another signal"),
    ]
    assert titles(chart) == {"mean line", "letters"}
    kept = judged().filter(pa.compute.is_null(judged()["dropped_by"]))
    assert titles(charts.signal_map(kept)) == {"mean line", "letters"}


@pytest.mark.parametrize(
    ("draw", "table", "said"),
    [
        (charts.ablation, bits, "arms"),
        (charts.funnel, steps, "steps of the recipe"),
        (charts.reasons, dropped, "filtered files"),
        (charts.signal_map, judged, "files"),
    ],
)
def test_a_chart_can_be_read_in_a_report_and_says_where_it_has_no_rows(draw, table, said, tmp_path):
    check_look(lambda: draw(table()), tmp_path)
    with pytest.raises(InputError, match=f"the table has no {said}"):
        draw(METRICS_SCHEMA.empty_table() if draw is charts.ablation else table().slice(0, 0))
