"""Gradients of the answer beside finite differences, and features of every node."""

from types import SimpleNamespace

import pytest
import torch

from winnow.evaluate.attribution_features import answer_gradients, attribution_features
from winnow.evaluate.supervised_dictionaries import logits_with
from winnow.evaluate.supervised_task import giving_task
from winnow.evaluate.task_scene import scene_of
from winnow.models import build
from winnow.workloads.names_language import vocabulary


@pytest.fixture(scope="module")
def scene():
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2).double()
    return scene_of(model, giving_task("train", 800, 0), giving_task("test", 30, 0), 0.0)


def test_gradients_are_what_moving_a_node_does_to_the_logit_difference(scene):
    found, fit = answer_gradients(scene), scene.fit
    assert found.shape == scene.seen.shape
    generator = torch.Generator().manual_seed(0)
    for node in range(4):
        step = torch.randn(scene.seen.shape[2], generator=generator, dtype=torch.float64)

        def difference(size, node=node, step=step):
            values = scene.seen.clone()
            values[:, node] += size * step
            # Later nodes stay live, as the gradient has them.
            here = scene.nodes[node : node + 1]
            return fit.difference(logits_with(scene.model, fit.tokens, here, values[:, node : node + 1]))

        slope = (difference(1e-5) - difference(-1e-5)) / 2e-5
        torch.testing.assert_close(found[:, node] @ step, slope, atol=1e-7, rtol=1e-4)


def test_every_node_gets_features_of_the_penalty_nearest_to_what_is_asked(scene):
    single = scene._replace(seen=scene.seen.float(), model=scene.model)
    settings = SimpleNamespace(width=12, k=2, steps=30, batch_size=128, penalties=[0.1, 3.0])
    made, explaining = attribution_features(single, settings, 0)
    assert len(made) == len(explaining) == 4
    for first, second in zip(made, explaining, strict=True):
        assert not torch.equal(first.decoder, second.decoder)
    for i, features in enumerate(made):
        codes = features.encode(single.seen[:, i])
        assert codes.shape == (800, 12) and (codes >= 0).all()
    one = attribution_features(single, SimpleNamespace(**{**vars(settings), "penalties": [3.0]}), 0)[0]
    active = [
        [float((f.encode(single.seen[:, i]) > 0).sum(1).double().mean()) for i, f in enumerate(m)] for m in (made, one)
    ]
    assert all(abs(a - 2) <= abs(b - 2) for a, b in zip(*active, strict=True))
