"""The chart and the table of effects of compression are checked by the rows they hold."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import compression_effects_charts as charts
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def table(entries):
    """entries: (system, variant, seed, values)."""
    labels = {"workload": "digits", "split": "test"}
    return pa.concat_tables(
        [metric_rows(values, system=s, variant=v, seed=seed, **labels) for s, v, seed, values in entries]
    )


METRICS = table(
    [("dense", "mlp", seed, {"accuracy": 0.9 + seed / 100, "insertion": 0.7}) for seed in (0, 2)]
    + [("snip", "mlp-quick-s80", seed, {"accuracy": 0.8, "insertion": 0.5 + seed / 10}) for seed in (0, 2)]
)
SURVIVAL = table(
    [
        ("matched_by_activation", "mlp-quick-s80", 0, {"survival": 0.4}),
        ("matched_by_activation", "mlp-other-s80", 0, {"survival": 0.1}),
        ("matched_by_decoder", "mlp-quick-s80", 0, {"survival": 0.2}),
        ("matched_by_activation", "refitted", 0, {"refit_survival": 0.8}),
    ]
)


def test_survival_counts_of_the_measured_models_alone_by_the_criterion_that_pruned_them():
    found = [r for r in charts.measured(METRICS, SURVIVAL) if r["metric"] == "survival"]
    assert [(r["system"], r["kept"], r["value"]) for r in found] == [("snip", 20.0, 0.4), ("dense", 100.0, 0.8)]


def test_the_table_has_means_by_measure_criterion_and_sparsity_and_the_number_of_seeds():
    rows = charts.as_table(charts.measured(METRICS, METRICS_SCHEMA.empty_table()))
    found = {(r["measure"], r["pruned by"], r["sparsity (%)"]): (r["mean"], r["seeds"]) for r in rows}
    assert found == {
        ("accuracy (share)", "dense", 0.0): (pytest.approx(0.91), 2),
        ("accuracy (share)", "snip", 80.0): (pytest.approx(0.8), 2),
        ("insertion (area)", "dense", 0.0): (pytest.approx(0.7), 2),
        ("insertion (area)", "snip", 80.0): (pytest.approx(0.6), 2),
    }


def test_the_chart_has_a_panel_for_each_measure_that_is_there_with_the_dense_level():
    chart = charts.small_multiples(charts.measured(METRICS, METRICS_SCHEMA.empty_table()))
    assert [panel["title"] for panel in chart.to_dict()["concat"]] == ["accuracy (share)", "insertion (area)"]
    assert sorted(r["mean"] for r in drawn(chart) if "system" not in r) == pytest.approx([0.7, 0.91])


def test_nothing_pruned_is_refused():
    dense = METRICS.slice(0, 4)
    with pytest.raises(InputError, match="pruned models"):
        charts.small_multiples(charts.measured(dense, METRICS_SCHEMA.empty_table()))
