"""Charts of attention over pairs: accuracies, errors, and work by length."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import kronecker_charts as charts
from winnow.evaluate.kronecker_study import error_map
from winnow.pipeline.tables import metric_rows


def test_counts_are_drawn_against_tokens():
    labels = {"workload": "", "variant": "64 tokens", "seed": 0, "split": "test"}
    tables = [metric_rows({"work": 7.0}, system=system, **labels) for system in ("exact_attention", "kronecker")]
    shown = drawn(charts.by_length(pa.concat_tables(tables), "work", "work"))
    assert [(row["kind"], row["tokens"], row["mean"]) for row in shown] == [("exact", 64, 7.0)]


def test_charts_draw_networks_and_errors():
    def table(metric, step):
        values = [(metric, 0.5 + seed / 4, step) for seed in (0,)]
        return metric_rows(values, system="kronecker", workload="", variant="match3", seed=0, split="test")

    shown = drawn(charts.learning(table("majority", None), table("accuracy", 10)))
    assert [(row["network"], row["mean"]) for row in shown if "network" in row] == [("over pairs", 0.5)]
    rows = [row for tokens in (4, 3) for row in error_map([0.5], 3, tokens, 2, 3, 0)]
    chart = charts.errors(rows)
    assert {row["mean"] for row in drawn(chart)} == {row["error"] for row in rows}  # no two lengths are averaged
    assert [panel.title for panel in chart.concat] == [
        f"order 3, {tokens} tokens, {kind}" for tokens in (3, 4) for kind in ("Chebyshev", "Taylor")
    ]
    with pytest.raises(InputError, match="the table has no errors"):
        charts.errors([])
