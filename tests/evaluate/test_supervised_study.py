"""The task that dictionaries are judged on, read word by word, and a small model whose heads are exchanged."""

import pytest
import torch

from winnow.errors import InputError
from winnow.evaluate import supervised_study as study
from winnow.models import build
from winnow.workloads.names_language import NAMES, vocabulary


def words(row):
    return [vocabulary()[token] for token in row.tolist()]


@pytest.fixture(scope="module")
def scene():
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2)
    with torch.no_grad():  # a new model hardly moves its logits
        for block in model.blocks:
            block.attn.output.weight.mul_(8)
    return study.scene_of(model, study.task_of("train", 900, 0), study.task_of("test", 60, 0), 0.0)


def test_attributes_and_counterfactuals_are_what_the_sentences_say():
    task = study.task_of("test", 40, 3)
    for i in range(40):
        sentence, who = words(task.prompts.tokens[i]), {n: int(v[i]) for n, v in task.attributes.items()}
        first, second, giver = (sentence[at] for at in (study.FIRST_NAME, study.SECOND_NAME, study.GIVER))
        receiver = second if giver == first else first
        assert (NAMES[who["subject"]], NAMES[who["indirect"]]) == (giver, receiver) and who["order"] == (first == giver)
        other = NAMES[int(task.new["indirect"][i])]
        assert other not in (giver, receiver) and task.new["order"][i] == 1 - who["order"]
        changed = {name: words(tokens[i]) for name, tokens in task.counterfactual.items()}
        assert changed["indirect"] == [other if word == receiver else word for word in sentence]
        assert changed["subject"] == [other if word == giver else word for word in sentence]
        swapped = list(sentence)
        swapped[study.FIRST_NAME], swapped[study.SECOND_NAME] = second, first
        assert changed["order"] == swapped


def test_own_values_recover_all_means_nothing_and_a_cut_answers_the_counterfactual(scene):
    assert study.recovered(scene, scene.held) == pytest.approx(1.0, abs=1e-5)
    assert study.recovered(scene, scene.seen.mean(0).expand_as(scene.held)) == pytest.approx(0.0, abs=1e-5)
    assert study.explained(scene, scene.held) == 1.0
    assert study.explained(scene, scene.held.mean(0).expand_as(scene.held)) == pytest.approx(0.0, abs=1e-5)
    # All heads at the last position are a cut: only they see other positions.
    assert all(study.accuracy(scene, name, values) == 1.0 for name, values in scene.changed.items())


def test_least_squares_explain_more_than_means_and_floors_less(scene):
    mse, mean = (study.told_by_supervised(scene, kind)["all"]["explained"] for kind in ("mse", "mean"))
    assert mse >= mean - 0.02
    found = {
        "random": study.told_by_features(scene, study.random_features(scene.seen, 16, 2, 0), [1]),
        "components": study.told_by_features(scene, study.components(scene.seen, 8), [1, 8]),
    }
    assert found["random"]["all"]["explained"] < found["components"]["all"]["explained"]
    assert found["random"]["all"]["l0"] <= 2
    whole = found["components"]
    assert (
        whole["all"]["explained"] == pytest.approx(1.0, abs=1e-4) and whole["indirect-8-agnostic"]["edit_accuracy"] == 1
    )


def test_general_rows_are_what_heads_hold_where_there_are_words(scene):
    tokens = torch.nn.functional.pad(scene.fit.prompts.tokens[:3], (0, 2))
    rows = study.general_rows(scene.model, tokens, scene.nodes, 0)
    assert rows.shape == (3 * scene.fit.prompts.tokens.shape[1], 4, 8)
    last = study.read(scene.model, scene.fit.prompts.tokens[:1], scene.nodes)[0]
    assert (rows - last).abs().sum((1, 2)).min() < 1e-4


def test_nodes_that_are_no_cut_are_refused(scene):
    task = study.task_of("test", 20, 1)
    with pytest.raises(InputError, match="the counterfactual indirect is answered in .* they are no cut of the task"):
        study.scene_of(scene.model, study.task_of("train", 400, 1), task, 1.01)
