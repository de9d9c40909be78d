"""What the charts of experts draw: a row an arm, a point an expert, a line a property, a mark a unit."""

import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import moe_x_charts as charts
from winnow.evaluate.moe_x_study import ARMS
from winnow.pipeline.tables import metric_rows


def test_scores_have_a_panel_each_and_every_arm_has_a_name():
    values = dict.fromkeys(charts.PANELS, 0.5) | {"coverage_shifted": 0.25}
    table = metric_rows(values, system="moe_x", workload="", variant="trained", seed=0, split="test")
    chart = charts.scores(table)
    assert {row["layer"] for row in drawn(chart)} == {"MoE-X"} and {row["mean"] for row in drawn(chart)} == {0.5, 0.25}
    grey = [panel["layer"] for panel in chart.to_dict()["concat"] if len(panel["layer"]) == 4]
    assert [part[0]["encoding"]["x"]["title"] for part in grey] == [charts.PANELS["coverage"]]
    assert [panel["layer"][0]["encoding"]["x"]["title"] for panel in chart.to_dict()["concat"]] == list(
        charts.PANELS.values()
    )
    with pytest.raises(InputError, match="the table has no cross-entropy"):
        charts.scores(table.slice(0, 0))
    assert set(charts.ARMS) == {arm.name for arm in ARMS} | {"dictionary", "dictionary_sparse"}


def test_each_expert_is_a_point_in_the_panel_of_its_arm():
    rows = [
        {"arm": arm, "seed": 0, "layer": layer, "expert": 0, "score": -0.5, "active": 0.1 * layer}
        for arm in ("switch", "moe_x", "relu_experts")
        for layer in (2, 1)
    ]
    chart = charts.experts(rows)
    assert {(row["arm"], row["layer"], row["active"]) for row in drawn(chart)} == {
        (name, f"layer {layer}", 0.1 * layer) for name in ("MoE-X", "learned router, ReLU") for layer in (1, 2)
    }
    assert [panel.title for panel in chart.concat] == ["learned router, ReLU", "MoE-X"]


def test_contexts_stand_in_lines_of_the_first_seed():
    row = {"arm": "moe_x_upcycled", "seed": 1, "property": "comment", "f1": 0.456, "contexts": ["a" * 30 + "#", "b"]}
    other = row | {"seed": 2, "property": "string"}
    cells = [r for r in drawn(charts.contexts([other, row, row | {"arm": "dense"}])) if r["line"] == 0]
    assert [cell["text"] for cell in cells] == ["comment", "0.46", "\u2026" + "a" * 23 + "#", "\u2026b"]
    assert len({cell["x"] for cell in cells}) == 4
    with pytest.raises(InputError, match="no features of this kind of layer"):
        charts.contexts([row | {"arm": "dense"}])


def test_units_are_coloured_by_expert():
    rows = [{"expert": e, "unit": u, "x": float(u), "y": 0.0} for e in (0, 1) for u in range(3)]
    chart = charts.encoders(rows)
    assert sorted({row["expert"] for row in drawn(chart)}) == ["1", "2"] and len(drawn(chart)) == 6
