"""Charts of BEE are checked by the rows they draw."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import bee_charts
from winnow.evaluate.bee import FAMILIES
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(metric, entries):
    """entries: (system, variant, value of each seed)."""
    labels = {"workload": "digits", "split": "test"}
    tables = [
        metric_rows({metric: value}, system=system, variant=variant, seed=seed, **labels)
        for system, variant, values in entries
        for seed, value in enumerate(values)
    ]
    return pa.concat_tables(tables)


def test_scores_over_draws_keep_the_best_family_and_the_best_explainer():
    table = rows(
        "quality",
        [
            ("bee_pretrained", "DEL-t1", [0.5, 0.7]),
            ("bee_pretrained", "DEL-t8", [0.8, 1.0]),
            ("family_blur", "DEL-t8", [0.7, 0.7]),
            ("family_normal", "DEL-t8", [0.9, 0.9]),
            ("family_normal", "DEL-t1", [0.1, 0.1]),
            ("grad_cam", "DEL-t1", [0.4, 0.4]),
            ("layer_cam", "DEL-t1", [0.3, 0.3]),
            ("something_else", "DEL-t1", [0.0, 0.0]),
        ],
    )
    found = {(r["method"], r["draws"]): r["mean"] for r in drawn(bee_charts.scores_by_draws(table))}
    assert found == pytest.approx(
        {
            ("BEE, pre-trained", 1): 0.6,
            ("BEE, pre-trained", 8): 0.9,
            ("best single family", 8): 0.9,
            ("best single family", 1): 0.1,
            ("best without a choice", 1): 0.4,
            ("best without a choice", 8): 0.4,  # it draws once, and is compared at every number of draws
        }
    )


def test_shares_of_families_add_up_in_every_tenth_of_the_draws():
    draws = list(range(20))
    arms = pa.table(
        {
            "phase": ["pretraining"] * 20 + ["inference"],
            "metric": ["DEL"] * 21,
            "draw": [*draws, 0],
            "arm": [0] * 10 + [1, 2] * 5 + [3],
        }
    )
    found = {(r["seen"], r["family"]): r["share"] for r in drawn(bee_charts.arm_shares(arms))}
    assert found[10.0, FAMILIES[0]] == 1 and found[100.0, FAMILIES[0]] == 0
    assert found[100.0, FAMILIES[1]] == found[100.0, FAMILIES[2]] == 0.5
    for seen in range(10, 110, 10):
        assert sum(found[float(seen), family] for family in FAMILIES) == pytest.approx(1)
    assert len(found) == 10 * len(FAMILIES)


def test_crossed_metrics_are_shaded_within_their_column():
    table = rows(
        "score",
        [
            ("chosen_by_DEL", "DEL", [0.2, 0.4]),
            ("chosen_by_INS", "DEL", [0.5, 0.7]),
            ("chosen_by_DEL", "INS", [8.0]),
            ("chosen_by_INS", "INS", [8.0]),
            ("grad_cam", "INS", [99.0]),
        ],
    )
    found = {(r["chosen"], r["variant"]): (r["mean"], r["shade"]) for r in drawn(bee_charts.crossed_metrics(table))}
    assert found["DEL", "DEL"] == pytest.approx((0.3, 0)) and found["INS", "DEL"] == pytest.approx((0.6, 1))
    assert found["DEL", "INS"] == found["INS", "INS"] == (8.0, 0.5)
    assert len(found) == 4


def test_tables_without_the_rows_are_refused():
    with pytest.raises(InputError, match="no scores over draws"):
        bee_charts.scores_by_draws(METRICS_SCHEMA.empty_table())
    with pytest.raises(InputError, match="no crossed metrics"):
        bee_charts.crossed_metrics(METRICS_SCHEMA.empty_table())
    with pytest.raises(InputError, match="no draws of pre-training"):
        bee_charts.arm_shares(pa.table({"phase": pa.array([], pa.string())}))
