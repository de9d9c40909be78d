"""The picture and the table of effects show means over seeds, in the order of the rows."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn, found
from winnow.evaluate.dictionary_effects_charts import PANELS, effects, effects_table
from winnow.pipeline.tables import metric_rows


def table():
    names = (*PANELS, "fvu")
    tables = []
    for seed in (0, 1):
        for place, variant in enumerate(("lm", "refitted", "lm-magnitude-s50")):
            values = dict.fromkeys(names[: 1 if variant == "lm" else 5], 0.9 - 0.2 * place + 0.05 * seed)
            labels = {"system": "dictionary_effects", "workload": "w", "variant": variant, "split": "test"}
            tables.append(metric_rows(values, seed=seed, **labels))
    return pa.concat_tables(tables)


def test_the_picture_shows_means_of_every_panel_and_model():
    chart = effects(table())
    rows = drawn(chart)
    assert {row["variant"] for row in rows} == {"lm", "refitted", "lm-magnitude-s50"}
    assert {round(row["mean"], 3) for row in rows} == {0.925, 0.725, 0.525}
    assert set(PANELS.values()) <= {title for title in found(chart.to_dict(), "title") if isinstance(title, str)}


def test_the_table_has_means_over_seeds_and_gaps_where_nothing_was_measured():
    rows = effects_table(table()).to_pylist()
    assert [row["model"] for row in rows] == ["lm", "refitted", "lm-magnitude-s50"]
    assert rows[0]["survival"] is None and rows[1]["survival"] == pytest.approx(0.725)
