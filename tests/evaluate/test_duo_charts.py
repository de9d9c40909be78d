"""Charts of routes draw every kind at its budget and its cost, and tokens in lines."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from tests.evaluate.test_duo_study import PARAMS, Corpus, silent
from winnow.errors import InputError
from winnow.evaluate import duo_charts
from winnow.evaluate import duo_study as study
from winnow.pipeline.tables import metric_rows


@pytest.fixture(scope="module")
def model():
    return study.trained(Corpus(), PARAMS, 0, silent)


@pytest.fixture(scope="module")
def xy():
    return next(iter(Corpus().batches("test", 6, 9)))


def test_charts_show_every_kind(model, xy):
    tables = study.tables_of(model, *xy, 0)
    rows, use, growth = study.told_by_oracles(model, tables, 0)
    for k in ("k1", "k2"):
        rows["drawn", k] = {"cross_entropy": 2.0}
        for name in ("router", "router_by_layer"):
            rows[name, k] = {"cross_entropy": 2.0, "share": 0.4}
        rows["oracle", k].setdefault("gain", 0.1)
    labels = {"workload": "python", "seed": 0, "split": "test"}
    metrics = pa.concat_tables(metric_rows(v, system=s, variant=k, **labels) for (s, k), v in rows.items())
    shown = [row for row in drawn(duo_charts.budgets(metrics, 3)) if "kind" in row]
    assert {row["kind"] for row in shown} == set(duo_charts.KINDS.values())
    assert all(row["k"] == pytest.approx(1.2) for row in shown if row["kind"] == "router")
    assert len(drawn(duo_charts.use([use]))) == 6
    assert {row["labels"] for row in drawn(duo_charts.hindsight(metrics, [growth])) if "labels" in row} == {
        "true",
        "shuffled",
    }
    with pytest.raises(InputError, match="no routes"):
        duo_charts.budgets(metrics.slice(0, 0), 3)
    study.add_costs(rows, model, 8)
    metrics = pa.concat_tables(metric_rows(v, system=s, variant=k, **labels) for (s, k), v in rows.items())
    costs = study.by_cost(model, tables, "two layers")
    shown = [row for row in drawn(duo_charts.costs(metrics, [costs])) if "route" in row]
    lines = {(row["route"], row["multiply_adds"], row["mean"]) for row in shown if "two layers" in row["route"]}
    names = {kind: f"{name}, two layers" for kind, name in duo_charts.COSTED.items()}
    assert lines == {(names[row["kind"]], row["multiply_adds"], row["cross_entropy"]) for row in costs}
    assert {row["route"] for row in shown} - {line[0] for line in lines} == {
        "best of draws", "router", "router, by layer",
    }  # fmt: skip


def test_tokens_are_drawn_in_lines_that_fit():
    rows = [{"window": w, "text": "word \n" if i else "a", "gain": 0.5 * i} for w in range(2) for i in range(20)]
    cells = drawn(duo_charts.tokens(rows))
    assert len(cells) == 40 and cells[1]["text"] == "word\u00b7\u21b5" and cells[1]["gain"] == 0.5
    assert all(cell["end"] <= duo_charts.COLUMNS and cell["end"] - cell["x"] == len(cell["text"]) for cell in cells)
    assert sorted({cell["line"] for cell in cells}) == [0, 1, 3, 4]  # an empty line between windows
