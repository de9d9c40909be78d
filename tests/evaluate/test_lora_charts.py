"""Charts of adapters' gradients: ranks and the bound, entries of heads, work by length."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import lora_charts as charts
from winnow.pipeline.tables import metric_rows


def test_the_map_has_squares_crosses_and_the_bound():
    rows = [
        {"tokens": n, "gamma": g, "rank": 5, "error": e, "bound": 1.4, "seed": s}
        for s in (1, 0)
        for n, g, e in ((8, 0.5, 1e-4), (8, 1.0, 1.0), (20, 0.5, 1e-3))
    ]
    shown = drawn(charts.phases(rows))
    assert [row for row in shown if "rank" in row] == [
        {"gamma": 0.5, "tokens": 8, "rank": 5},
        {"gamma": 0.5, "tokens": 20, "rank": 5},
    ]
    assert {"gamma": 1.0, "tokens": 8} in shown and {"tokens": 20, "gamma": 1.4} in shown


def test_each_head_has_its_entries_before_training():
    rows = [
        {"gain": gain, "step": step, "layer": 1, "head": 0, "query": 1.0 + step, "key": 2.0, "product": 3.0}
        | {"bound": 2.3, "seed": 0}
        for gain in (4.0, 1.0)
        for step in (0, 5)
    ]
    shown = {(row["head"], row["of"], row["mean"]) for row in drawn(charts.heads(rows)) if "of" in row}
    assert shown == {("2.1", "queries", 1.0), ("2.1", "keys", 2.0), ("2.1", "products", 3.0)}


def test_counts_are_drawn_against_tokens():
    table = metric_rows({"work": 7.0}, system="exact_gradients", variant="64 tokens", workload="", seed=0, split="test")
    other = metric_rows({"work": 9.0}, system="other", variant="64 tokens", workload="", seed=0, split="test")
    shown = drawn(charts.by_length(pa.concat_tables([table, other]), "work", "work"))
    assert [(row["kind"], row["tokens"], row["mean"]) for row in shown] == [("exact", 64, 7.0)]


def test_charts_draw_errors_and_the_largest_entry():
    rows = [{"case": case, "gamma": 1.0, "degree": 2, "error": 0.1, "rank": 6} for case in ("partial", "full")]
    assert [row["terms"] for row in drawn(charts.errors(rows)) if "terms" in row] == ["2"]
    entries = [
        {"gain": 4.0, "step": 0, "seed": 0, "query": q, "key": k, "bound": 2.0} for q, k in ((1.0, 3.0), (2.0, 0.5))
    ]
    assert [row["mean"] for row in drawn(charts.growth(entries)) if "gain" in row] == [3.0]
    with pytest.raises(InputError, match="the table has no entries of heads"):
        charts.growth([])
