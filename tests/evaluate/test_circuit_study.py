"""One run of the study on a small transformer, its numbers, and its charts."""

from types import SimpleNamespace

import pytest
import torch

from tests.evaluate.circuits import random_transformer
from tests.evaluate.drawing import drawn
from winnow.evaluate import circuit_charts as charts
from winnow.evaluate import circuit_study as study
from winnow.workloads.names_language import vocabulary

SETTINGS = SimpleNamespace(
    prompts=2, draws=2, random_orders=3, evaluated=3, references=4, frames=[0], rounds=2, keep=1, sizes=[3, 20, 999]
)


@pytest.fixture(scope="module")
def model():
    return random_transformer(vocabulary=len(vocabulary()), dtype=torch.float32)


@pytest.fixture(scope="module")
def made(model):
    calls = []
    return study.study(model, SETTINGS, 0, lambda done, of: calls.append((done, of))), calls


def test_every_method_is_measured_on_every_task_and_draw(made):
    (nodes, curves, seconds, measures), calls = made
    methods = {*study.scorers(2, 1), "random"}
    assert {*measures} == {(method, task) for method in methods for task in ("names0", "years")}
    assert all(len(draws) == (3 if method == "random" else 2) for (method, _), draws in measures.items())
    assert calls[-1] == (36, 36)
    assert {row["size"] for row in curves} == {3, 20} and len(curves) == (9 * 2 + 3) * 2 * 2
    assert len(seconds) == 9 * 2 * 2 and all(row["seconds"] >= 0 for row in seconds)
    of_one = [row for row in nodes if (row["method"], row["task"], row["draw"]) == ("cdt", "years", 0)]
    assert [row["score"] for row in of_one] == sorted((row["score"] for row in of_one), reverse=True)
    for (method, task), draws in measures.items():
        for draw, found in enumerate(draws):
            mine = [r for r in curves if (r["method"], r["task"], r["draw"]) == (method, task, draw)]
            assert found["area"] == pytest.approx(sum(min(1, row["faithfulness"]) for row in mine) / 2)
            if method != "random":
                by_chance = [r for r in curves if (r["method"], r["task"]) == ("random", task)]
                pairs = [(a, b) for a in mine for b in by_chance if a["size"] == b["size"]]
                beaten = sum(a["faithfulness"] > b["faithfulness"] for a, b in pairs)
                assert found["beats_random"] == pytest.approx(beaten / len(pairs)) and len(pairs) == 6
    ratios = study.work_ratios(measures, "names0")
    assert ratios["grouped_over_rounds"] == (
        measures["path", "names0"][0]["blocks"] / measures["cdt_rounds", "names0"][0]["blocks"]
    )


def test_decomposition_adds_up_on_the_task_itself_and_scores_of_one_value_correlate_with_nothing(model):
    task = dict(study.tasks(model, "test", 3, SETTINGS, 0))["names0"]
    assert 0 <= study.sums_exactly(model, task) < 1e-4
    assert study.correlation(torch.ones(3), torch.arange(3)) == 0
    assert study.correlation(torch.arange(3), 1 - 2 * torch.arange(3)) == pytest.approx(-1)


def test_charts_draw_what_was_found(model, made):
    (nodes, curves, _, _), _ = made
    task = dict(study.tasks(model, "test", 3, SETTINGS, 0))["names0"]
    assert len({tuple(row) for row in study.by_chance(model, task, [3, 20], 3, 1).tolist()}) == 3
    rows = study.circuit(model, "names0", task, 0)
    assert len([row for row in rows if not row["to"]]) == study.SHOWN
    assert any(row.get("by") == "decomposition" for row in drawn(charts.faithfulness(curves)))
    assert any(row.get("head") == "1.1" for row in drawn(charts.node_map(nodes, rows)))
    assert any("effect" in row for row in drawn(charts.effects(nodes)))
    shown = drawn(charts.circuit(rows, least=-10.0))
    assert sum("label" in row for row in shown) == study.SHOWN and any("share" in row for row in shown)
