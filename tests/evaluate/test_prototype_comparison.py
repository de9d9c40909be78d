"""Every arm is judged on the views that it takes, by the judgement of one, and its rows say whose they are."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from winnow.evaluate.prototype_comparison import JudgedImages, compare
from winnow.evaluate.prototype_judging import judge, rank_correlation
from winnow.evaluate.prototype_views import attacked, views
from winnow.workloads.annotations import PartPoints

SIDE, N = 16, 24
WINDOWS = {"half": 3, "narrow": 1, "halves": [1, 3], "size": (SIDE, SIDE), "threshold": 0.8}


class Spots(torch.nn.Module):
    """Prototype j, of class j, fires where channel j is brightest; `gain` tells networks apart."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = gain

    def maps(self, x):
        return self.gain * x

    def class_of(self):
        return torch.tensor([0, 1, 2])

    def forward(self, x):
        return self.gain * x.amax((2, 3))


def standardise(pixels):
    return torch.from_numpy(pixels).movedim(3, 1).float() / 255


@pytest.fixture(scope="module")
def images():
    """The brightest spot of an image is in its class's channel, for all but a few; class 2 has no image."""
    random = np.random.default_rng(0)
    labels = torch.arange(N) % 2
    xy = random.integers(2, SIDE - 2, (N, 2, 2)).astype(np.float32)
    pixels = np.zeros((N, SIDE, SIDE, 3), np.uint8)
    for i in range(N):
        for part in range(2):
            bright = 250 if part == labels[i] or i < 4 else 200
            pixels[i, int(xy[i, part, 1]), int(xy[i, part, 0]), part] = bright
    points = PartPoints(("head", "tail"), xy, np.ones((N, 2), bool))
    seen = views(standardise(pixels), pixels, standardise)
    return JudgedImages(labels, points, pixels, seen, lambda x: 2 * x - 1)


@pytest.fixture(scope="module")
def found(images):
    steps = []
    arms = {
        "one": ("protopnet", Spots()),
        "other": ("protopnet", Spots(-1.0)),
        "grad-cam": ("grad_cam", Spots(3.0)),
        "image centre": ("centre", Spots()),
    }
    result = compare(arms, images, WINDOWS, 4, lambda done, total: steps.append((done, total)))
    assert steps == [(i, 4) for i in range(1, 5)]
    return result


def test_each_arm_has_what_the_judgement_of_one_network_says(found, images):
    assert {name: system for name, (system, _) in found.metrics.items()} == {
        "one": "protopnet",
        "other": "protopnet",
        "grad-cam": "grad_cam",
        "image centre": "centre",
    }
    behind = images.views.after(images.layers)
    for name, gain, seen in (("one", 1.0, behind), ("other", -1.0, behind), ("grad-cam", 3.0, images.views)):
        network, others = Spots(gain), dict(seen.others)
        if name != "grad-cam":
            others["adversarial"] = attacked(network, images.layers, images.views.still, images.labels)
        one = judge(network, seen.still, seen.noisy, images.labels, images.points, others=others, seed=4, **WINDOWS)
        right = float((network(seen.still).argmax(1) == images.labels).double().mean())
        assert found.metrics[name][1] == one.metrics | {"accuracy": right}
        mine = found.prototypes.filter(pa.compute.equal(found.prototypes["variant"], name))
        assert mine.drop_columns(["variant", "seed"]).equals(one.prototypes)
        curve = found.curve.filter(pa.compute.equal(found.curve["variant"], name))
        assert curve.drop_columns(["variant", "seed"]).equals(one.curve)
    assert set(found.prototypes["seed"].to_pylist()) == {4}


def test_no_adversary_is_asked_for_what_cannot_move_and_what_has_no_gradient(found):
    with_adversary = [name for name, (_, values) in found.metrics.items() if "stability_adversarial" in values]
    assert with_adversary == ["one", "other"]
    assert all(f"stability_{kind}" in found.metrics["grad-cam"][1] for kind in ("brightness", "shift", "jpeg"))
    middle = found.metrics["image centre"][1]
    assert "accuracy" not in middle and middle["stability_brightness"] == 100


def test_a_class_without_images_has_no_score(found):
    rows = found.prototypes.to_pylist()
    assert all((row["frequency"] is None) == (row["class"] == 2) for row in rows)


def test_strips_are_of_networks_with_prototypes_of_their_own(found):
    assert {row["variant"] for row in found.strips} == {"one", "other"}
    assert {row["seed"] for row in found.strips} == {4}
    assert {(row["variant"], row["which"]) for row in found.strips} == {
        (variant, which) for variant in ("one", "other") for which in ("best", "worst")
    }


def test_accuracy_is_ranked_with_consistency_over_arms_that_classify(found):
    values = [found.metrics[name][1] for name in ("one", "other", "grad-cam")]
    expected = rank_correlation([v["accuracy"] for v in values], [v["consistency"] for v in values], 4)
    assert found.related == {name: v if np.isfinite(v) else None for name, v in expected.items()}
