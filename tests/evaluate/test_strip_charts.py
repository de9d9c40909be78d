"""Pictures of prototypes hold images, regions and points where they lie, and each prototype as a tick."""

import pyarrow as pa
import pytest

from tests.evaluate.prototype_rows import SIDE, strip_rows
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.strip_charts import prototypes
from winnow.evaluate.strip_charts import strips as strip_chart


@pytest.fixture
def rows():
    return strip_rows()


def test_the_pictures_hold_regions_and_points_where_they_lie(rows, tmp_path):
    found, at, _ = rows
    table = pa.Table.from_pylist([{"variant": "a", "seed": seed} | row for seed in (1, 2) for row in found])
    whole = strip_chart(table).to_dict()
    images, boxes, missed, hit = (
        part["data"]["values"] if "values" in part["data"] else whole["datasets"][part["data"]["name"]]
        for part in whole["layer"]
    )
    assert len(images) == 16 and len(boxes) == 15  # one map without a peak; the second seed is left out
    row, column = at[5, 2]
    (box,) = [b for b in boxes if int(b["left"]) == 2 and b["top"] < 1]
    assert box["left"] == pytest.approx(2.03 + 0.94 * max(0, column - 3) / SIDE)
    assert box["bottom"] == pytest.approx(0.03 + 0.94 * min(20, row + 4) / SIDE)
    expected = (2.03 + 0.94 * (column + 3.5) / SIDE, 0.03 + 0.94 * (row - 2.5) / SIDE)
    assert any((point["x"], point["y"]) == pytest.approx(expected) for point in hit)
    assert all(point["hit"] for point in hit) and not any(point["hit"] for point in missed)
    save_chart(strip_chart(table), tmp_path / "a.svg")
    assert "a, best: 50 %" in (tmp_path / "a.svg").read_text()


def test_each_prototype_is_a_tick_and_empty_tables_are_refused(tmp_path):
    table = pa.table({"variant": ["a", "a", "b"], "frequency": [0.25, None, 1.0], "consistent": [False, False, True]})
    whole = prototypes(table).to_dict()
    (values,) = whole["datasets"].values() if "datasets" in whole else [whole["data"]["values"]]
    assert [(v["variant"], v["frequency"], v["consistent"]) for v in values] == [("a", 25, False), ("b", 100, True)]
    save_chart(prototypes(table), tmp_path / "b.svg")
    with pytest.raises(InputError, match="no strips"):
        strip_chart(pa.table({"variant": []}))
    with pytest.raises(InputError, match="no prototypes"):
        prototypes(table.slice(1, 1))
