"""A copy of a model learns the task of parameters; the model itself stays, and is taken where it can do the task."""

from types import SimpleNamespace

import pytest
import torch

from tests.evaluate.test_parameter_task import FILES, SIZE, WORDS
from winnow.curate.byte_pairs import train_byte_pairs
from winnow.errors import InputError
from winnow.evaluate import taught_model
from winnow.evaluate.parameter_task import Parameters
from winnow.evaluate.taught_model import Lessons, ability, made_ready, taught
from winnow.models import build

SETTINGS = SimpleNamespace(
    lesson_size=16, lessons=200, learning_rate=1e-2, least_accuracy=0.0, fit_prompts=40, prompts=30
)


@pytest.fixture(scope="module")
def made():
    return Parameters(list(WORDS), train_byte_pairs(FILES, SIZE), 0.3)


@pytest.fixture
def model():
    return build("hooked_transformer", vocabulary=SIZE, context=32, width=16, layers=1, heads=2).eval()


def test_ability_counts_answers_among_all_tokens_and_among_names(made):
    task = made.task("test", 40, 0)
    logits = torch.zeros(40, 1, SIZE)
    logits[:20, 0].scatter_(1, task.answer[:20, None], 2.0)  # right
    logits[20:30, 0].scatter_(1, task.answer[20:30, None], 1.0)  # right among names, behind a token that is none
    logits[20:30, 0, 0] = 5.0
    other = made.frame.answers[task.attributes["subject"]]
    logits[30:, 0].scatter_(1, other[30:, None], 4.0)
    found = ability(SimpleNamespace(run=lambda tokens, last: (logits, {})), task)
    expected = {"accuracy": 0.5, "accuracy_among_names": 0.75, "logit_difference": (20 * 2 + 10 * 1 - 10 * 4) / 40}
    assert found == pytest.approx(expected)


def test_lessons_are_prompts_of_a_split_with_the_loss_of_their_answers(made, model):
    train, valid = made.task("train", 50, 0), made.task("valid", 20, 0)
    lessons = Lessons(train, valid)
    rows = list(lessons.batches("train", 16))
    assert [len(tokens) for tokens, _ in rows] == [16, 16, 16, 2]
    assert torch.equal(torch.cat([tokens for tokens, _ in rows]), train.tokens)
    shuffled = torch.cat([torch.cat([t, a[:, None]], 1) for t, a in lessons.batches("train", 16, 3)])
    plain = torch.cat([train.tokens, train.answer[:, None]], 1)
    assert not torch.equal(shuffled, plain) and sorted(shuffled.tolist()) == sorted(plain.tolist())
    batch = next(lessons.batches("valid", 20))
    log_probabilities = model(batch[0])[:, -1].log_softmax(-1)
    by_hand = -sum(log_probabilities[i, batch[1][i]] for i in range(20)) / 20
    torch.testing.assert_close(lessons.loss(model, batch), by_hand)
    assert lessons.metrics(model, "valid") == ability(model, valid)


def test_a_copy_is_taught_and_the_model_stays_as_it_was(made, model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []
    ready = made_ready(model, made.task, SETTINGS, 0, lambda done, total: seen.append((done, total)))
    assert ready.model is not model and seen[-1] == (200, 200)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    # Ten names have too few pairs to learn more than what they are; a guess among them is right one time in ten.
    assert ready.abilities["as_trained"]["accuracy"] < 0.1 < 0.3 < ability(ready.model, ready.fit)["accuracy"]
    assert ready.abilities == {"as_trained": ability(model, ready.test), "judged": ability(ready.model, ready.test)}
    assert [len(task.tokens) for task in (ready.fit, ready.test)] == [40, 30]
    assert torch.equal(ready.fit.tokens, made.task("train", 40, 0).tokens)
    assert torch.equal(ready.test.tokens, made.task("test", 30, 0).tokens)


def test_a_model_that_can_do_the_task_is_judged_as_it_is(made, model, monkeypatch):
    lessons = Lessons(made.task("train", 32, 0), made.task("valid", 20, 0))
    monkeypatch.setattr(taught_model, "ABLE", 0.0)
    assert taught(model, lessons, SETTINGS, 0, lambda done, total: None) is model


def test_a_copy_that_has_not_learned_is_refused(made, model):
    lessons = Lessons(made.task("train", 32, 0), made.task("valid", 20, 0))
    settings = SimpleNamespace(**{**vars(SETTINGS), "least_accuracy": 1.0})
    with pytest.raises(
        InputError, match=r"of the valid prompts 0\.\d\d are answered .*, and 1 are needed; raise lesson"
    ):
        taught(model, lessons, settings, 0, lambda done, total: None)
