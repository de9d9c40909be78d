import numpy as np
import pytest
import torch

from winnow.attribution.saliency_metrics import METRICS
from winnow.errors import InputError
from winnow.evaluate.bee import FAMILIES
from winnow.evaluate.bee_comparison import Material, arms_differ, compare, fill_of, qualities, score_table
from winnow.models import build
from winnow.randomness import torch_generator

IMAGE = {"in_channels": 1, "height": 12, "width": 12, "classes": 3}
TRAIN = torch.rand(30, 1, 12, 12, generator=torch_generator(0, "train"))
TEST = torch.rand(6, 1, 12, 12, generator=torch_generator(0, "test"))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_the_material_explains_the_predicted_class_and_knows_the_standardised_last_layer():
    model = build("small_cnn", seed=1, **IMAGE).eval()
    material = Material.of(model, "relu2", TRAIN, TEST)
    assert torch.equal(material.test.target, model(TEST).argmax(1))
    hidden = torch.nn.Sequential(*list(model)[:-1])(TRAIN).detach().numpy()
    alive = hidden.std(axis=0) > 0
    np.testing.assert_allclose(material.train_features[:, alive].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(material.train_features[:, alive].std(axis=0, ddof=1), 1, atol=1e-4)
    assert material.test_features.shape == (6, 64) and len(material.test.pool) == 30


def test_every_arm_that_draws_draws_as_often_and_runs_repeat():
    model = build("small_cnn", seed=1, **IMAGE)
    runs = [compare(Material.of(model, "relu2", TRAIN, TEST), "relu2", ["DEL", "INS"], 3, 5, 0.0, 4) for _ in range(2)]
    first, again = runs
    for (method, _), scores in first.scores.items():
        drawn = method.startswith(("bee", "family", "uniform"))
        assert scores.shape == (6, 3 if drawn else 1)
    assert {m for m, _ in first.scores} >= {"uniform", "grad_cam", *(f"family_{f}" for f in FAMILIES)}
    assert all(np.array_equal(first.scores[key], again.scores[key], equal_nan=True) for key in first.scores)
    assert all(np.array_equal(first.arms[key], again.arms[key]) for key in first.arms)
    assert len(first.arms["pretraining", "DEL"]) == 30 and len(first.arms["finetuning", "INS"]) == 18
    for (chosen, scored), scores in first.crossed.items():
        if chosen == scored:
            best = first.scores["bee_finetuned", scored]
            best = best.max(1) if METRICS[scored].higher_is_better else best.min(1)
            np.testing.assert_allclose(scores, best)


def test_quality_turns_the_sign_of_what_is_better_lower_and_undefined_images_are_left_out():
    values = np.array([[0.5, 0.2, 0.4], [np.nan, 0.6, 0.1], [np.nan] * 3])
    found = qualities({("a", "DEL"): values, ("a", "INS"): values})
    assert set(found) == {("a", m, t) for m in ("DEL", "INS") for t in (1, 2, 3)}
    assert found["a", "DEL", 1] == {"score": 0.5, "quality": -0.5, "undefined": pytest.approx(2 / 3)}
    assert found["a", "DEL", 3]["score"] == pytest.approx(0.15) and found["a", "INS", 2]["quality"] == pytest.approx(
        0.55
    )
    nothing = qualities({("a", "AIC"): np.full((2, 1), np.nan)})["a", "AIC", 1]
    assert nothing == {"score": None, "quality": None, "undefined": 1.0}
    table = score_table({("a", "DEL"): values})
    assert table["image_id"].to_pylist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and table["draw"].to_pylist() == [1, 2, 3] * 3
    assert table["score"].to_pylist()[:3] == [0.5, 0.2, 0.4]


def test_arms_that_differ_between_metrics_are_told_from_those_that_do_not():
    same = {("pretraining", m): np.tile(np.arange(5), 40) for m in ("a", "b")}
    other = same | {("pretraining", "b"): np.repeat([0, 0, 0, 1, 4], 40)}
    assert arms_differ(same, "pretraining") > 0.99 and arms_differ(other, "pretraining") < 1e-6
    assert arms_differ({("pretraining", "a"): np.arange(5)}, "pretraining") == 1.0


def test_what_takes_the_place_of_a_pixel():
    black = torch.full((1, 1, 12, 12), -0.4)
    assert fill_of("black", TEST, black) is black
    blur = fill_of("blur", TEST, black)
    assert blur.shape == TEST.shape and blur.std() < TEST.std() / 3


def test_a_model_whose_last_layer_is_maps_is_refused():
    model = build("residual", seed=1, **IMAGE)
    with pytest.raises(InputError, match="one row an image"):
        Material.of(model, "block1", TRAIN, TEST)
