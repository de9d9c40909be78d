"""One network's reasons on two splits are those of the pieces, and its accuracy is counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.curate.visual_edits import edit
from winnow.evaluate.prototype_reasons import BATCH, global_importance, local_importance
from winnow.evaluate.reason_study import Reasons, metrics_of, prepared, reasons_of_network

EDITS = ("hue", "brightness")


class Bright:
    """One prototype, brightness; class 1 where the mean lies above 0."""

    def class_of(self):
        return torch.tensor([0])

    def outputs(self, x):
        mean = x.mean((1, 2, 3))
        return SimpleNamespace(maps=x.mean(1, keepdim=True) + 3, logits=torch.stack([-mean, mean], dim=1))

    def maps(self, x):
        return self.outputs(x).maps


def test_reasons_on_both_splits_and_what_edits_cost_over_several_batches():
    count = BATCH + 6
    generator = torch.Generator().manual_seed(0)
    images = {s: torch.rand(count, 3, 4, 4, generator=generator) * 0.2 + 0.4 for s in ("train", "test")}
    images["test"][:10] += 0.3
    edited = {s: {kind: edit(x, kind) for kind in EDITS} for s, x in images.items()}
    prepare = lambda x: x - 0.45  # noqa: E731
    labels = (images["test"].mean((1, 2, 3)) > 0.45).long()
    labels[:3] = 0  # three mistakes
    found = reasons_of_network(Bright(), images, edited, prepare, labels, seed=3)
    local = local_importance(Bright(), images["train"], EDITS, prepare=prepare)
    value, error = global_importance(local, seed=3)
    assert np.array_equal(found.train, value) and np.array_equal(found.error, error)
    expected, _ = global_importance(local_importance(Bright(), images["test"], EDITS, prepare=prepare), seed=3)
    assert np.array_equal(found.test, expected)
    assert found.accuracy == pytest.approx(1 - 3 / count)
    darker = (edited["test"]["brightness"].mean((1, 2, 3)) > 0.45).long()
    assert found.accuracy_drops[1] == pytest.approx(found.accuracy - float((darker == labels).double().mean()))
    assert found.accuracy_drops[1] > 0.5


def test_metrics_are_named_by_edit_and_null_where_they_are_unknown():
    train = np.array([[0.1, 0.0], [0.2, 0.0], [0.4, 0.0]])
    found = metrics_of(Reasons(train, train, train, None, 0.75, np.array([0.25, 0.0])), EDITS)
    assert found["correlation_hue"] == pytest.approx(1) and found["gap_hue"] == 0
    assert found["correlation_brightness"] is None and found["accuracy"] == 0.75
    assert found["accuracy_drop_hue"] == 0.25 and found["faithfulness"] == pytest.approx(1)


def test_images_are_prepared_as_the_workload_standardises_pixels():
    mean, deviation = np.array([0.2, 0.5, 0.7]), np.array([0.1, 0.2, 0.3])

    class Workload:
        shape = (3, 4, 4)

        def standardise(self, pixels):
            x = (pixels / 255 - mean) / deviation
            return torch.from_numpy(x).float().movedim(3, 1)

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    images = torch.from_numpy(pixels).movedim(3, 1).float() / 255
    assert torch.allclose(prepared(Workload())(images), Workload().standardise(pixels), atol=1e-5)
