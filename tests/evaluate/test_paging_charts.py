"""Charts of paging draw the numbers that the tables hold."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.paging_charts import cost_of_errors, fault_raster, gap_closed
from winnow.pipeline.tables import metric_rows

LABELS = {"system": "paging", "workload": "w", "split": "test"}


def test_the_gap_is_drawn_for_each_policy_trace_and_size_but_the_ends_of_the_axis(tmp_path):
    closed = {"lru": 0.0, "lfd": 1.0, "fifo": -0.5, "mark0": 0.25, "mark_and_predict": 0.75}
    tables = [
        metric_rows({"gap_closed": value + seed / 10}, variant=f"{policy}-{trace}-{percent}", seed=seed, **LABELS)
        for policy, value in closed.items()
        for trace in ("imports", "calls")
        for percent in ("5", "20")
        for seed in (0, 1)
    ]
    chart = gap_closed(pa.concat_tables(tables))
    rows = [row for row in drawn(chart) if "policy" in row]
    assert {(row["policy"], row["percent"], round(row["mean"], 6)) for row in rows} == {
        (policy, percent, mean)
        for policy, mean in (("mark0", 0.3), ("mark and predict", 0.8))
        for percent in (5.0, 20.0)
    }
    save_chart(chart, tmp_path / "gap.svg")


def test_faults_and_bounds_are_drawn_over_wrong_bits_as_shares_of_the_optimum(tmp_path):
    row = {"trace": "zipf", "policy": "mark0", "flipped": "evict told as keep", "chance": 0.5, "faults": 30.0}
    row |= {"optimum": 20, "eta_0": 10, "eta_1": 0, "bound": 50.0}
    other = row | {"flipped": "keep told as evict", "eta_0": 0, "eta_1": 6}
    others = [other, row | {"flipped": "both", "faults": 99.0}, row | {"policy": "robust_flush", "bound": None}]
    chart = cost_of_errors(pa.Table.from_pylist([row, *others]))
    found = {(r["policy"], r["flipped"], r["line"], r["error"], r["mean"]) for r in drawn(chart) if "line" in r}
    assert found == {
        ("mark0", "evict told as keep", "zipf: faults", 0.5, 1.5),
        ("mark0", "evict told as keep", "zipf: bound", 0.5, 2.5),
        ("mark0", "keep told as evict", "zipf: faults", 0.3, 1.5),
        ("mark0", "keep told as evict", "zipf: bound", 0.3, 2.5),
        ("robust flush", "evict told as keep", "zipf: faults", 0.5, 1.5),
    }
    save_chart(chart, tmp_path / "noise.svg")


def test_the_raster_has_a_tick_for_each_request_and_says_how_many_fault(tmp_path):
    rows = [
        {"request": i, "policy": p, "hit": i % step == 0} for p, step in (("lru", 2), ("marker", 4)) for i in range(8)
    ]
    chart = fault_raster(pa.Table.from_pylist(rows))
    found = [row for row in drawn(chart) if "request" in row]
    assert len(found) == 16
    assert {row["policy"] for row in found} == {"lru (50 %)", "marker (75 %)"}
    assert sum(row["what"] == "fault" for row in found) == 10
    save_chart(chart, tmp_path / "timeline.svg")


@pytest.mark.parametrize(
    ("chart", "columns"),
    [
        (cost_of_errors, {"flipped": pa.string()}),
        (fault_raster, {"policy": pa.string(), "hit": pa.bool_()}),
    ],
)
def test_a_table_without_rows_is_refused(chart, columns):
    with pytest.raises(InputError, match="chart: the table has no"):
        chart(pa.table({name: pa.array([], kind) for name, kind in columns.items()}))
