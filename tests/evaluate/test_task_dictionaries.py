"""Dictionaries of a task's nodes beside what the nodes hold."""

import pytest
import torch

from winnow.evaluate import task_dictionaries as kinds
from winnow.evaluate.supervised_dictionaries import read
from winnow.evaluate.supervised_task import giving_task
from winnow.evaluate.task_scene import scene_of
from winnow.models import build
from winnow.workloads.names_language import vocabulary


@pytest.fixture(scope="module")
def scene():
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2)
    return scene_of(model, giving_task("train", 400, 0), giving_task("test", 30, 0), 0.0)


def test_general_rows_are_what_heads_hold_where_there_are_words(scene):
    tokens = torch.nn.functional.pad(scene.fit.tokens[:3], (0, 2))
    rows = kinds.general_rows(scene.model, tokens, scene.nodes, 0)
    assert rows.shape == (3 * scene.fit.tokens.shape[1], 4, 8)
    last = read(scene.model, scene.fit.tokens[:1], scene.nodes)[0]
    assert (rows - last).abs().sum((1, 2)).min() < 1e-4


def test_floors_have_as_many_active_features_as_asked_and_all_components_are_the_rows(scene):
    random = kinds.random_features(scene.seen, 16, 2, 0)
    for features, rows in zip(random, scene.seen.unbind(1), strict=True):
        assert ((features.encode(rows) != 0).sum(1) <= 2).all()
    for features, rows in zip(kinds.components(scene.seen, 8), scene.seen.unbind(1), strict=True):
        torch.testing.assert_close(features.reconstruct(rows), rows, atol=1e-5, rtol=0)
