"""Occlusion is seen in planted nodes, and not where nothing varies."""

import pytest
import torch

from winnow.evaluate.occluded_nodes import node_occlusion
from winnow.evaluate.supervised_dictionaries import Features
from winnow.evaluate.supervised_task import giving_task
from winnow.evaluate.task_scene import scene_of
from winnow.models import build
from winnow.workloads.names_language import vocabulary


@pytest.fixture(scope="module")
def scene():
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2).double()
    return scene_of(model, giving_task("train", 800, 0), giving_task("test", 400, 0), 0.0)


def test_longer_codes_with_more_telling_features_are_occlusion(scene):
    lengths = [(1.0, 0.2), (1.0, 0.6), (0.6, 1.0), (0.2, 1.0)]

    def rows_of(task):
        names = [torch.nn.functional.one_hot(task.attributes[name], 40).float() for name in ("indirect", "subject")]
        return torch.stack([torch.cat([a * names[0], b * names[1]], 1) for a, b in lengths], 1)

    seen, held = rows_of(scene.fit), rows_of(scene.test)
    decoder = torch.eye(80)

    def coder(kept):
        def encode(x):
            codes = (x > 0).float()
            codes[:, kept:40] = 0
            codes[:, 40 + 40 - kept : 80] = 0
            return codes

        return Features(encode, decoder, torch.zeros(80))

    planted = scene._replace(seen=seen, held=held)
    told = node_occlusion(planted, [coder(kept) for kept in (40, 30, 10, 0)])
    assert told["rank_correlation"] == pytest.approx(1.0) and 1.6 < told["told_more_range"] <= 2
    assert node_occlusion(planted, [coder(kept) for kept in (0, 10, 30, 40)])["rank_correlation"] == pytest.approx(-1.0)
    assert node_occlusion(planted, [coder(20)] * 4)["rank_correlation"] == 0.0
    # Codes are one-hot rows less what others explain, so their lengths are in the ratio of what was planted.
    assert told["length_ratio_range"] == pytest.approx(2 * float(torch.tensor(5.0).log()), abs=0.05)
    # What is chosen on the fit prompts is judged on the others: features that tell nothing there have no surplus.
    blind = node_occlusion(planted._replace(held=torch.zeros_like(held)), [coder(kept) for kept in (40, 30, 10, 0)])
    assert blind["told_more_range"] == 0.0
