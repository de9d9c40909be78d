"""Two encoders of invented texts: what they learn, and what is refused."""

from types import SimpleNamespace

import pytest
import torch

from tests.evaluate.topic_lessons import CONTEXT, SETTINGS, VOCABULARY, lessons
from winnow.errors import InputError
from winnow.train.topic_classifier import better_and_worse


def test_the_better_model_learns_the_phrase_and_the_worse_one_sees_few_texts():
    calls = []
    pair = better_and_worse(lessons(), VOCABULARY, CONTEXT, SETTINGS, 0, lambda *done: calls.append(done))
    better, worse = pair.measured["better"], pair.measured["worse"]
    assert better["accuracy_none"] > 0.9 and better["accuracy_phrase"] > 0.8 and better["accuracy_first"] > 0.6
    assert worse["accuracy_none"] < better["accuracy_none"]
    assert calls[-1] == (300, 300) and not pair.better.training
    again = better_and_worse(lessons(), VOCABULARY, CONTEXT, SETTINGS, 0, lambda *done: None)
    assert all(torch.equal(a, b) for a, b in zip(pair.worse.parameters(), again.worse.parameters(), strict=True))


def test_models_that_cannot_be_judged_are_refused():
    few = SimpleNamespace(**{**vars(SETTINGS), "epochs": 1, "gated": True})
    with pytest.raises(InputError, match="raise epochs or lower worse_share"):
        better_and_worse(lessons(), VOCABULARY, CONTEXT, few, 0, lambda *done: None)
