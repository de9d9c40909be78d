"""Charts of transfer show every arm's mean and the counts of a confusion."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.transfer_charts import SHOWN, arms, confusion
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def test_arms_are_means_over_seeds_by_draw_balance_and_network(tmp_path):
    tables = [
        metric_rows({"macro_f1": value + seed / 10}, system=system, variant=arm, workload="w", seed=seed, split="test")
        for seed in (0, 2)
        for system, arm, value in (("small_cnn", "random-none", 0.2), ("transfer", "stratified-over", 0.5))
    ]
    chart = arms(pa.concat_tables(tables))
    rows = {(row["draw"], row["balance"], row["network"]): row["mean"] for row in drawn(chart)}
    assert rows == pytest.approx(
        {("random", "none", "from scratch"): 0.3, ("stratified", "over-sampling", "from ImageNet"): 0.6}
    )
    save_chart(chart, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "drawn class by class" in text and "mean F1" in text
    with pytest.raises(InputError, match="macro_f1"):
        arms(METRICS_SCHEMA.empty_table())


def test_a_confusion_has_the_counts_of_the_shown_arm_alone():
    system, arm = SHOWN
    rows = [{"system": system, "arm": arm, "label": a, "predicted": b} for a, b in ((0, 0), (0, 1), (0, 0), (1, 1))]
    rows.append({"system": "small_cnn", "arm": arm, "label": 1, "predicted": 0})
    found = {(row["true"], row["taken"]): row for row in drawn(confusion(pa.Table.from_pylist(rows), ["a", "b"]))}
    assert {key: row["images"] for key, row in found.items()} == {
        ("a", "a"): 2,
        ("a", "b"): 1,
        ("b", "a"): 0,
        ("b", "b"): 1,
    }
    assert found["a", "b"]["share"] == pytest.approx(1 / 3)
