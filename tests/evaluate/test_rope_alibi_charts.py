"""Charts of positions: losses by length and strength, by place, and biases of heads."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import rope_alibi_charts as charts
from winnow.pipeline.tables import metric_rows


def test_strengths_are_drawn_at_the_trained_and_at_the_longest_length():
    rows = [
        metric_rows({"cross_entropy": value}, system=mode, workload="", variant=variant, seed=0, split="test")
        for mode, variant, value in (
            ("geometric", "length 8", 1.0),
            ("geometric", "length 16, strength 0.25", 2.0),
            ("additive_harmonic", "length 16", 3.0),
            ("additive_harmonic", "length 12", 4.0),
            ("additive_harmonic", "length 8, learned", 5.0),
            ("rope", "length 8", 6.0),
        )
    ]
    chart = charts.strengths(pa.concat_tables(rows), 8)
    shown = {(row["slopes"], row["strength"], row["mean"]) for row in drawn(chart)}
    assert shown == {("geometric", 1.0, 1.0), ("geometric", 0.25, 2.0), ("harmonic", 0.25, 3.0)}
    assert [panel.title for panel in chart.hconcat] == ["context of 8 bytes", "context of 16 bytes"]


def test_a_sentence_stands_where_no_mode_has_what_a_chart_shows():
    table = metric_rows({"cross_entropy": 6.0}, system="rope", workload="", variant="length 8", seed=0, split="test")
    said = "no mode whose strength is varied was run"
    assert drawn(charts.strengths(table, 8)) == [{"text": said}]
    assert drawn(charts.biases(["rope", "none"], 2, 4)) == [{"text": "no mode with a bias was run"}]


def test_charts_draw_each_length_place_and_head():
    rows = [
        metric_rows(
            {"cross_entropy": 2.0 + seed}, system="rope", workload="python", variant=variant, seed=seed, split="test"
        ).to_pylist()[0]
        for seed in (0, 1)
        for variant in ("length 64", "length 128, learned", "length 128, strength 0.5")
    ]
    table = metric_rows({}, system="", workload="", variant="", seed=0, split="").from_pylist(rows)
    shown = {(row["arm"], row["length"]): row["mean"] for row in drawn(charts.lengths(table, 64)) if "arm" in row}
    assert shown == {("RoPE", 64): 2.5, ("RoPE, learned", 128): 2.5}
    inside = [{"arm": arm, "position": 4.0, "value": 1.0, "seed": 0} for arm in ("alibi", "alibi, strength 2")]
    assert [r["way"] for r in drawn(charts.profile(inside, 8)) if "way" in r] == ["ALiBi"]
    curves = [row for row in drawn(charts.biases(["rope", "factored"], 2, 4)) if "head" in row]
    assert len(curves) == 10 and curves[0]["mean"] == 1
    with pytest.raises(InputError, match="the table has no losses by place"):
        charts.profile([], 8)
