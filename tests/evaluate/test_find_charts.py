"""Charts of FIND draw what its tables hold."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from tests.evaluate.find_rows import record_of
from winnow.errors import InputError
from winnow.evaluate import find_charts, find_study
from winnow.evaluate.find_benchmark import scored
from winnow.evaluate.find_interpreters import TemplateRegression
from winnow.pipeline.tables import metric_rows


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
    relations = metric_rows(values, system="f", variant="relations-relation-64", workload="w", seed=0, split="test")
    bars = drawn(find_charts.relation_bars(pa.concat_tables([*tables, relations]), 64))
    assert {(r["interpreter"], r["on"], r["mean"]) for r in bars} == {
        ("relations", "all words", 0.5),
        ("relations", "outside of the group", 1),
        ("relations", "inside of it", 0.25),
    }
    lines = drawn(find_charts.budget_lines(pa.concat_tables(tables)))
    assert {(r["budget"], r["mean"]) for r in lines if "budget" in r} == {(16, 0.5), (64, 0.5)}
    record = record_of(["linear", 2.0, 0.0])
    rows = scored([record], [(TemplateRegression(), 16)], 16, 0, lambda done, total: None)
    curves = find_study.error_curves([record], rows, 1)
    assert len(curves) == 512 and len(drawn(find_charts.worst_curves(pa.Table.from_pylist(curves)))) == 512
    with pytest.raises(InputError, match="run the stage"):
        find_charts.success_bars(pa.concat_tables(tables), 32)
