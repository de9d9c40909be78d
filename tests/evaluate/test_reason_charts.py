"""Pictures of the reasons of prototypes show each one's importances, standardised edit by edit."""

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate import reason_charts
from winnow.evaluate.chart_parts import save_chart


def table():
    values = {("hue", 0): 2.0, ("hue", 1): 4.0, ("shape", 0): 0.3, ("shape", 1): -0.1, ("texture", 0): None}
    return pa.Table.from_pylist(
        [
            {
                "variant": variant,
                "seed": seed,
                "prototype": j,
                "class": "a",
                "edit": edit,
                "train": value,
                "test": value,
            }
            for variant in ("one", "two")
            for seed in (0, 1)
            for (edit, j), value in values.items()
        ]
    )


def rows_of(chart, *at):
    whole = chart.to_dict()
    part = whole
    for key in at:
        part = part[key]
    held = part["data"]
    return held["values"] if "values" in held else whole["datasets"][held["name"]]


def test_train_is_set_against_test_for_each_network_and_seed(tmp_path):
    chart = reason_charts.agreement(table())
    assert [panel["title"] for panel in chart.to_dict()["hconcat"]] == ["one", "two"]
    assert len(rows_of(chart, "hconcat", 0, "layer", 1)) == 8
    assert [row["train"] for row in rows_of(chart, "hconcat", 0, "layer", 0)] == [-0.1, 4.0]
    save_chart(chart, tmp_path / "a.svg")
    assert "on train" in (tmp_path / "a.svg").read_text()


def test_the_heat_map_shows_the_first_seed_standardised():
    chart = reason_charts.importances(table())
    cells = {(row["prototype"], row["edit"]): row["value"] for row in rows_of(chart, "hconcat", 1)}
    assert cells["a 0", "hue"] == pytest.approx(2 / 3) and cells["a 1", "hue"] == pytest.approx(4 / 3)
    assert cells["a 0", "shape"] == pytest.approx(1.5) and cells["a 1", "shape"] == pytest.approx(-0.5)
    assert len(cells) == 4
    assert sorted(chart.to_dict()["hconcat"][1]["encoding"]["y"]["sort"]) == ["a 0", "a 1"]


def test_prototypes_of_like_importances_stand_side_by_side():
    values = {0: (1.0, 0.0), 1: (0.0, 1.0), 2: (1.1, 0.1), 3: (0.1, 1.1)}
    rows = [
        {"variant": "one", "seed": 0, "prototype": j, "class": "a", "edit": edit, "train": value, "test": value}
        for j, pair in values.items()
        for edit, value in zip(("hue", "shape"), pair, strict=True)
    ]
    order = reason_charts.importances(pa.Table.from_pylist(rows)).to_dict()["hconcat"][0]["encoding"]["y"]["sort"]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({"a 0", "a 2"}), frozenset({"a 1", "a 3"})}
    alone = reason_charts.importances(pa.Table.from_pylist(rows[:2])).to_dict()["hconcat"][0]
    assert alone["encoding"]["y"]["sort"] == ["a 0"]


def test_a_table_without_importances_is_refused():
    with pytest.raises(InputError, match="no importances"):
        reason_charts.importances(table().slice(0, 0))
