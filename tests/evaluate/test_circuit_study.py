"""One run of the study on a small transformer, and its numbers."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.evaluate.circuits import random_transformer
from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate import circuit_study as study
from winnow.evaluate.circuit_search import Faithfulness
from winnow.evaluate.claims_schema import load_claims
from winnow.pipeline.params import load_params
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
    unsized = [row for row in curves if row["method"] in ("outliers", "pruned")]
    curves = [row for row in curves if row not in unsized]
    methods = {*study.scorers(2, 1), "random", "outliers", "pruned"}
    assert {*measures} == {(method, task) for method in methods for task in ("names0", "years")}
    assert all(len(draws) == (3 if method == "random" else 2) for (method, _), draws in measures.items())
    assert calls[-1] == (36, 36)
    assert {row["size"] for row in curves} == {3, 20} and len(curves) == (9 * 2 + 3) * 2 * 2
    for name in ("names0", "years"):
        for all_of_them, left in zip(measures["outliers", name], measures["pruned", name], strict=True):
            assert left["nodes"] <= all_of_them["nodes"] and left["blocks"] > all_of_them["blocks"]
    assert len(seconds) == 9 * 2 * 2 and all(row["seconds"] >= 0 for row in seconds)
    of_one = [row for row in nodes if (row["method"], row["task"], row["draw"]) == ("cdt", "years", 0)]
    assert [row["score"] for row in of_one] == sorted((row["score"] for row in of_one), reverse=True)
    for (method, task), draws in measures.items():
        for draw, found in enumerate(draws):
            if method in ("outliers", "pruned"):
                mine = [r for r in unsized if (r["method"], r["task"], r["draw"]) == (method, task, draw)]
                assert [(r["size"], r["faithfulness"]) for r in mine] == [(found["nodes"], found["faithfulness"])]
                continue
            mine = [r for r in curves if (r["method"], r["task"], r["draw"]) == (method, task, draw)]
            assert found["area"] == pytest.approx(sum(min(1, row["faithfulness"]) for row in mine) / 2)
            if method != "random":
                by_chance = [r for r in curves if (r["method"], r["task"]) == ("random", task)]
                pairs = [(a, b) for a in mine for b in by_chance if a["size"] == b["size"]]
                beaten = sum(a["faithfulness"] > b["faithfulness"] for a, b in pairs)
                assert found["beats_random"] == pytest.approx(beaten / len(pairs)) and len(pairs) == 6
                usual = sum(min(1, row["faithfulness"]) for row in by_chance) / len(by_chance)
                assert found["above_random"] == pytest.approx(found["area"] - usual)
    ratios = study.work_ratios(measures, "names0")
    assert ratios["grouped_over_rounds"] == (
        measures["path", "names0"][0]["blocks"] / measures["cdt_rounds", "names0"][0]["blocks"]
    )


def test_decomposition_adds_up_on_the_task_itself_and_scores_of_one_value_correlate_with_nothing(model):
    task = dict(study.tasks(model, "test", 3, SETTINGS, 0))["names0"]
    assert 0 <= study.sums_exactly(model, task) < 1e-4
    assert study.correlation(torch.ones(3), torch.arange(3)) == 0
    assert study.correlation(torch.arange(3), 1 - 2 * torch.arange(3)) == pytest.approx(-1)


def test_a_circuit_has_the_best_nodes_with_their_words_and_what_they_give_to_each_other(model):
    task = dict(study.tasks(model, "test", 3, SETTINGS, 0))["names0"]
    assert len({tuple(row) for row in study.by_chance(Faithfulness(model, task), [3, 20], 3, 1).tolist()}) == 3
    rows = study.circuit(model, "names0", task, 4)
    nodes = {row["from"]: row for row in rows if not row["to"]}
    scores = discovery.decomposition(model, task)
    best = scores.flatten().sort(descending=True).values[: study.SHOWN]
    assert [row["score"] for row in nodes.values()] == best.tolist()
    words = [vocabulary()[token] for token in task.tokens[0].tolist()]
    for name, row in nodes.items():
        assert name == f"{row['layer']}.{row['head']} at {row['position']}" and row["word"] == words[row["position"]]
        assert row["score"] == float(scores[row["layer"], row["position"], row["head"]])
        assert (row["task"], row["seed"]) == ("names0", 4)
    given = [row for row in rows if row["to"]]
    assert given and all(nodes[row["from"]]["layer"] < nodes[row["to"]]["layer"] for row in given)


def test_draws_and_seeds_are_as_many_pairs_as_the_claims_need():
    root = Path(study.__file__).parents[2]
    _, workloads = load_params(root / "params.yaml", {"scale": "laptop"}, root / "scales")
    settings = workloads["algorithmic"].evaluate.contextual_decomposition
    claims = [claim for claim in load_claims(root / "claims.yaml") if claim.system == "contextual_decomposition"]
    paired = [claim for claim in claims if claim.measure and claim.measure.pair_by == "step"]
    assert paired and max(claim.minimum_pairs for claim in paired) <= settings.draws * len(settings.seeds)
