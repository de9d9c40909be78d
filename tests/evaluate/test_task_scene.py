"""A small model whose heads are exchanged: own values, means, and edits of nothing and of everything."""

import pytest
import torch

from tests.evaluate.giving import giving_scene
from winnow.errors import InputError
from winnow.evaluate.supervised_dictionaries import logits_with, read
from winnow.evaluate.supervised_task import giving_task
from winnow.evaluate.task_scene import accuracy, edit_limits, explained, moved, queries_of, recovered, scene_of
from winnow.workloads.names_language import vocabulary


@pytest.fixture(scope="module")
def scene():
    return giving_scene()


def test_what_stands_before_the_last_position_need_not_be_read_again(scene):
    tokens = scene.test.tokens
    for part, values in ((scene, scene.changed["indirect"]), (queries_of(scene), queries_of(scene).changed["order"])):
        whole = logits_with(scene.model, tokens, part.nodes, values)[:, -1:]
        torch.testing.assert_close(part.logits(values), whole, atol=1e-4, rtol=1e-4)
        assert (whole - scene.model(tokens)[:, -1:]).abs().max() > 1e-3


def test_own_values_recover_all_means_nothing_and_a_cut_answers_the_counterfactual(scene):
    assert recovered(scene, scene.held) == pytest.approx(1.0, abs=1e-5)
    assert recovered(scene, scene.seen.mean(0).expand_as(scene.held)) == pytest.approx(0.0, abs=1e-5)
    assert explained(scene, scene.held) == 1.0
    assert explained(scene, scene.held.mean(0).expand_as(scene.held)) == pytest.approx(0.0, abs=1e-5)
    # All heads at the last position are a cut: only they see other positions.
    assert moved(scene, "indirect").any()
    assert accuracy(scene, "indirect", scene.changed["indirect"]) == 1.0


def test_edits_of_nothing_fail_and_of_everything_succeed_in_outputs_and_in_queries(scene):
    queries = queries_of(scene)
    assert {node.kind for node in queries.nodes} == {"q"} and {node.layer for node in queries.nodes} == {1}
    for part, names in ((scene, ["indirect"]), (queries, ["subject", "order"])):
        limits = edit_limits(part)
        for name in names:
            share = float((part.expected[name] != part.clean).double().mean())
            assert limits["ceiling"][f"{name}-1"]["moved"] == share
            assert limits["ceiling"][f"{name}-1"]["edit_accuracy"] == (1.0 if share else 0.0)
            assert limits["unedited"][f"{name}-1"]["edit_accuracy"] == 0.0
        assert list(limits["ceiling"]) == [f"{name}-1" for name in names]
    # Expected of queries is the answer with the counterfactual's queries and all else as it was.
    tokens = scene.test.tokens
    values = read(scene.model, scene.test.counterfactual["order"], queries.nodes)
    answer = logits_with(scene.model, tokens, queries.nodes, values)[:, -1].argmax(-1)
    assert torch.equal(queries.expected["order"], answer)
    # By hand: half of the answers that are to move do.
    clean = torch.zeros(60, dtype=torch.long)
    answers = scene.model(tokens)[:, -1].argmax(-1)
    wrong = (answers + 1) % len(vocabulary())
    half = torch.where(torch.arange(60) < 30, answers, torch.where(torch.arange(60) < 45, wrong, clean - 1))
    planted = scene._replace(clean=torch.where(torch.arange(60) < 45, clean - 2, clean - 1), expected={"order": half})
    assert accuracy(planted, "order", scene.held) == pytest.approx(30 / 45)
    assert accuracy(planted._replace(clean=half), "order", scene.held) == 0.0


def test_nodes_that_are_no_cut_are_refused(scene):
    task = giving_task("test", 20, 1)
    with pytest.raises(InputError, match="another indirect is told, .* get it, not 1.01; they are no cut of the task"):
        scene_of(scene.model, giving_task("train", 400, 1), task, 1.01)
