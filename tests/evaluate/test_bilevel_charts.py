"""Charts of learned masks: accuracy over what is kept and over what it cost, and overlaps from epoch to epoch."""

import pyarrow as pa
import pytest
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, filled, seeded, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate.bilevel_charts import accuracy_over_cost, accuracy_over_kept, mask_overlap
from winnow.pipeline.tables import METRICS_SCHEMA

METRICS = pa.concat_tables(
    [
        seeded("bilevel", "weight-s50", range(2), [0.9, 0.8]),
        seeded("bilevel", "weight-s90", range(2), [0.7, 0.6]),
        seeded("imp", "weight-s90", range(2), [0.5, 0.9]),
        seeded("imp", "filter-s50", range(2), [0.4, 0.6]),
        seeded("dense", "bilevel", range(2), [0.95, 0.95]),
        seeded("bilevel", "weight-s90", range(2), [300.0, 300.0], "examples"),
        seeded("imp", "weight-s90", range(2), [900.0, 900.0], "examples"),
        seeded("bilevel", "weight-s50", range(2), [100.0, 100.0], "examples"),
        seeded("bilevel", "weight-s90", range(2), [0.3, 0.5], "mask_overlap", 4),
        seeded("bilevel", "weight-s90", range(2), [0.7, 0.9], "mask_overlap", 8),
        seeded("bilevel", "weight-s50", [0], [0.9], "mask_overlap", 4),
        seeded("imp", "weight-s90", [0], [0.1], "mask_overlap", 4),
    ]
)


def test_accuracy_over_what_is_kept_is_a_mean_over_seeds_a_panel_a_kind_of_group():
    chart = accuracy_over_kept(METRICS)
    weights, filters = filled(chart)["hconcat"]
    assert (weights["title"], filters["title"]) == ("weights", "filters")
    found = {(r["system"], r["kept"]): r for r in weights["layer"][0]["data"]["values"]}
    assert {key: round(row["mean"], 6) for key, row in found.items()} == {
        ("bilevel", 50): 0.85,
        ("bilevel", 10): 0.65,
        ("imp", 10): 0.7,
    }
    interval = stats.ttest_1samp([0.7, 0.6], 0).confidence_interval(0.95)
    assert interval.low < 0.05 and interval.high > 1
    assert (found["bilevel", 10]["low"], found["bilevel", 10]["high"]) == (pytest.approx(interval.low), 1)
    assert [(r["system"], r["kept"], r["mean"]) for r in filters["layer"][0]["data"]["values"]] == [("imp", 50, 0.5)]
    assert titles(chart) == {"kept (%, log scale)", "test accuracy"} and spans(chart) == {("low", "high")}
    assert weights["layer"][0]["encoding"]["x"]["axis"]["values"] == [10, 50]


def test_cost_is_drawn_at_the_smallest_share_kept_of_the_first_kind_of_group():
    chart = accuracy_over_cost(METRICS)
    found = {(r["system"], round(r["mean"], 6), r["examples"]) for r in drawn(chart)}
    assert found == {("bilevel", 0.65, 300.0), ("imp", 0.7, 900.0)}
    assert titles(chart) == {"examples put forward and back (log scale)", "test accuracy, 10 % of weights kept"}
    assert spans(chart) == {("low", "high")}


def test_overlaps_are_of_bilevel_masks_at_each_step():
    chart = mask_overlap(METRICS)
    found = {(r["line"], r["step"]): r["mean"] for r in drawn(chart)}
    assert found == pytest.approx(
        {("weight, sparsity 90 %", 4): 0.4, ("weight, sparsity 90 %", 8): 0.8, ("weight, sparsity 50 %", 4): 0.9}
    )
    assert titles(chart) == {"step", "overlap with the epoch before"}
    assert max(r["high"] for r in drawn(chart)) == 1 and min(r["low"] for r in drawn(chart)) == 0


@pytest.mark.parametrize("draw", [accuracy_over_kept, accuracy_over_cost, mask_overlap])
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(lambda: draw(METRICS), tmp_path)
    assert sorts(draw(METRICS)) == []


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (accuracy_over_kept, "accuracies of pruned models"),
        (accuracy_over_cost, "accuracies of pruned models"),
        (mask_overlap, "overlaps of masks"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=f"has no {said}"):
        draw(METRICS_SCHEMA.empty_table())
