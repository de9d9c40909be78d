"""Pictures of recourses by the rows they draw."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn, found
from winnow.errors import InputError
from winnow.evaluate import recourse_charts
from winnow.pipeline.tables import metric_rows

ADVERSARIES = ("validity_worst", "validity_greedy", "validity_random")


def metrics(values):
    """values: (system, variant, seed, metric) -> value."""
    return pa.concat_tables(
        [
            metric_rows({metric: value}, system=system, variant=variant, workload="w", seed=seed, split="test")
            for (system, variant, seed, metric), value in values.items()
        ]
    )


def test_validity_is_a_line_for_each_arm_that_is_known_and_a_panel_for_each_adversary():
    values = {
        (system, budget, seed, metric): 0.5 + 0.2 * seed + 0.1 * place
        for system in ("plain", "published", "a_stranger")
        for budget in ("b3", "b8")
        for seed in (0, 1)
        for place, metric in enumerate(ADVERSARIES)
    }
    chart = recourse_charts.validity(metrics(values))
    rows = [row for row in drawn(chart) if "mean" in row]
    assert {row["arm"] for row in rows} == {"plain", "as published"}
    assert {row["budget"] for row in rows} == {3.0, 8.0}
    # Means over the seeds 0 and 1, of the three adversaries.
    assert sorted({round(row["mean"], 6) for row in rows}) == pytest.approx([0.6, 0.7, 0.8])
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    assert [p["title"] for p in chart.to_dict()["hconcat"]] == ["the worst rows erased", "greedily", "at random"]
    with pytest.raises(InputError):
        recourse_charts.validity(metrics(values).slice(0, 0))


def test_the_front_has_a_point_where_both_cost_and_validity_are_known():
    values = {("plain", "b3", 0, "validity_worst"): 0.2, ("plain", "b3", 0, "cost_ratio"): 1.0}
    values |= {("refit", "b3", 0, "validity_worst"): 0.9, ("refit", "b3", 0, "cost_ratio"): 1.5}
    values |= {("refit", "b8", 0, "validity_worst"): 0.8, ("refit", "b8", 0, "cost_ratio"): 2.5}
    values |= {("published", "b8", 0, "validity_worst"): 0.7}
    chart = recourse_charts.front(metrics(values))
    points = sorted((row["arm"], row["budget"], row["cost"], row["value"]) for row in drawn(chart) if "cost" in row)
    assert points == [("plain", 3.0, 1.0, 0.2), ("refit cuts", 3.0, 1.5, 0.9), ("refit cuts", 8.0, 2.5, 0.8)]
    assert [panel["title"] for panel in chart.to_dict()["hconcat"]] == ["3 % erased", "8 % erased"]


def test_influence_is_shown_against_a_diagonal_as_long_as_the_largest_fall():
    errors = [{"budget": 0.03, "predicted": 0.5, "true": 0.8}, {"budget": 0.08, "predicted": 1.5, "true": 1.2}]
    rows = drawn(recourse_charts.influence_error(pa.Table.from_pylist(errors)))
    assert [(r["erased"], r["predicted"], r["true"]) for r in rows if "erased" in r] == [
        ("3 %", 0.5, 0.8),
        ("8 %", 1.5, 1.2),
    ]
    ends = [(row["predicted"], row["true"]) for row in rows if "erased" not in row]
    assert sorted(ends) == [(0.0, 0.0), (1.5, 1.5)]


def test_changes_are_of_the_first_row_at_the_largest_budget_the_most_changed_features_first():
    def row(row_id, arm, budget, feature, change):
        return {
            "row_id": row_id, "arm": arm, "budget": budget, "feature": feature,
            "before": 1.23456, "after": 1.23456 + (change or 0), "change": change,
        }  # fmt: skip

    features = [f"f{i}" for i in range(10)]
    rows = [row(7, "plain", 0, name, 0.1 * i) for i, name in enumerate(features)]
    rows += [row(7, "refit", 0.08, name, -0.2 * i) for i, name in enumerate(features)]
    rows += [row(7, "refit", 0.03, "f9", 50.0), row(8, "plain", 0, "f1", 60.0), row(7, "wider", 0.08, "f1", 70.0)]
    rows += [row(7, "published", 0.08, "f9", None)]
    chart = recourse_charts.changes(pa.Table.from_pylist(rows))
    shown = [r for r in drawn(chart) if "feature" in r]
    assert {(r["name"], r["budget"]) for r in shown} == {("plain", 0), ("refit cuts", 0.08)}
    assert {r["feature"] for r in shown} == set(features[2:]) and len(shown) == 16
    assert {r["label"] for r in shown if r["feature"] == "f9" and r["name"] == "plain"} == {"1.23 to 2.13"}
    assert features[:1:-1] in found(chart.to_dict(), "sort")
