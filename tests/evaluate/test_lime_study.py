"""The study of LIME on images, on a model that looks at one spot."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy import stats
from torch import nn

from winnow.errors import InputError
from winnow.evaluate import lime_charts, lime_study
from winnow.evaluate.gallery_charts import region_weights
from winnow.evaluate.segments import grid
from winnow.randomness import numpy_generator


class Spot(nn.Module):
    """The first class is as likely as the upper left quarter is striped: a mean that fills a region hides stripes."""

    def forward(self, x):
        striped = 8 * x[:, :, :12, :12].diff(dim=3).square().mean((1, 2, 3)) - 3
        return torch.stack([striped, torch.zeros_like(striped)], 1)


def images(n=5):
    rng = numpy_generator(0, "spots")
    made = rng.random((n, 24, 24)).astype(np.float32) * 0.2
    made[:, 2:10, 2:10:2] += 1.5
    return made


def truth(n=5):
    found = np.zeros((n, 2, 24, 24), bool)
    found[:, 0, 2:10, 2:10] = True
    found[:, 1, 2:10, 10:12] = True
    return found


def test_a_model_is_called_with_grey_and_with_colour():
    predict = lime_study.predictor(Spot())
    grey = predict(images())
    assert grey.shape == (5, 2) and grey.sum(1) == pytest.approx(np.ones(5))
    assert predict(np.stack([images()] * 3, -1)) == pytest.approx(grey, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [0]),
        (2, [0, 4]),
        (3, [0, 4, 6]),
        (4, [0, 1, 4, 6]),
        (5, [0, 1, 4, 5, 6]),
        (6, [0, 1, 2, 4, 5, 6]),
        (9, list(range(7))),
    ],
)
def test_images_are_taken_from_each_class_in_turn(count, expected):
    assert lime_study.spread_over_classes(np.array([3, 3, 3, 3, 0, 0, 1]), count).tolist() == expected


@pytest.mark.parametrize("segmenter", ["slic", "grid", "random"])
def test_what_the_model_looks_at_is_pointed_at(segmenter):
    predict = lime_study.predictor(Spot())
    found = lime_study.explain_images(predict, images(), segmenter, 16, 200, 0)
    rows = lime_study.measure(predict, images(), truth(), found, 3, 200, 2, 0)
    assert [row["image"] for row in rows] == [i for i, one in enumerate(found) if one] and len(rows) >= 3
    for row in rows:
        assert row["precision"] > 1.5 * row["random_precision"] and row["drop"] > row["random_drop"] + 0.1, row
        assert abs(row["regions"] - 16) <= 0.12 * 16 + 2 * (segmenter == "random")
        assert (row["stability"] is None) == (row["image"] >= 2) and row["shadow_share"] < row["share"]


def test_images_that_cannot_be_cut_so_are_left_out(monkeypatch):
    predict = lime_study.predictor(Spot())

    def only_bright(name, image, segments, seed):
        if image.max() < 1:
            raise InputError("none comes near")
        return grid(image, segments)

    monkeypatch.setattr(lime_study, "regions_of", only_bright)
    made = images()
    made[1] /= 4
    found = lime_study.explain_images(predict, made, "slic", 16, 100, 0)
    assert [one is None for one in found] == [False, True, False, False, False]
    assert 1 not in [row["image"] for row in lime_study.measure(predict, made, truth(), found, 3, 100, 0, 0)]
    with pytest.raises(InputError, match="slic: no image can be cut into about 16 regions"):
        lime_study.explain_images(predict, made / 4, "slic", 16, 100, 0)


def test_picks_cover_more_than_random_ones_and_name_images():
    predict = lime_study.predictor(Spot())
    found = lime_study.explain_images(predict, images(), "grid", 16, 100, 0)
    found[2] = None
    result = lime_study.picks(images(), found, 3, 6, 0)
    assert (
        len(result["chosen"]) == 3
        and 2 not in result["chosen"]
        and result == lime_study.picks(images(), found, 3, 6, 0)
    )
    assert result["coverage"] == sorted(result["coverage"]) and result["random"] == sorted(result["random"])
    assert all(a >= b - 1e-9 for a, b in zip(result["coverage"], result["random"], strict=True))
    assert 1 - 1 / np.e <= result["of_best"] <= 1 + 1e-9 and result["high"] <= result["coverage"][-1] + 1e-9


def test_the_first_explained_image_of_each_class_is_drawn_with_its_regions_weights_and_truth(tmp_path):
    found = lime_study.explain_images(lime_study.predictor(Spot()), images(), "grid", 16, 100, 0)
    found[0] = None
    classes, numbers = ["wreck", "mine", "mine", "wreck", "wreck"], np.array([10, 11, 12, 13, 14])
    pixels = (images()[..., None] * 100).astype(np.uint8)
    maps = lime_study.overlay_maps("grid", found, classes, pixels, truth(), numbers)
    assert maps["numbers"].tolist() == [11, 13]
    assert np.array_equal(maps["images"], pixels[[1, 3]])
    assert np.array_equal(maps["truth"].astype(bool), truth()[[1, 3]].any(axis=1))
    assert np.array_equal(maps["grid"], np.stack([found[1][0], found[3][0]]))
    save_file(maps, tmp_path / "overlays.safetensors")
    measured = [
        {"image": int(numbers[i]), "segmenter": kind, "class": classes[i], "r2": i / 10 + (kind == "slic") / 2}
        for i in (1, 3)
        for kind in ("slic", "grid")
    ]
    weights = [
        {"image": int(numbers[i]), "segmenter": kind, "region": r, "weight": w if kind == "grid" else -9.0}
        for i in (3, 1)
        for kind in ("slic", "grid")
        for r, w in enumerate(found[i][1].weight.tolist())
    ]
    tables = pa.Table.from_pylist(measured), pa.Table.from_pylist(weights)
    chart = lime_charts.overlays(load_file(tmp_path / "overlays.safetensors"), *tables)
    own = [found[i][1].weight for i in (1, 3)]
    expected = region_weights(
        maps["images"], ["mine", "wreck"], maps["grid"], own, [0.1, 0.3], maps["truth"].astype(bool)
    )
    assert chart.to_dict() == expected.to_dict()


def test_a_summary_has_means_and_scipys_signed_rank_test():
    rng = np.random.default_rng(0)
    rows = [
        {"image": i, "class": name, "precision": p, "random_precision": 0.1, "shadow_share": i / 10, "drop": 0.5}
        | {"random_drop": 0.2, "stability": 0.3 if i < 2 else None}
        for i, (name, p) in enumerate(zip(["mine", "wreck"] * 6, rng.uniform(0.1, 0.9, 12), strict=True))
    ]
    found = lime_study.summary(rows, ["mine", "plane"], 3)
    assert found["precision"] == pytest.approx(np.mean([row["precision"] for row in rows]))
    assert found["stability"] == pytest.approx(0.3) and found["drop_gain"] == pytest.approx(0.3)
    assert found["shadow_share_mine"] == pytest.approx(0.5) and "shadow_share_plane" not in found
    over = [row["precision"] - 0.3 for row in rows]
    assert found["precision_p"] == pytest.approx(stats.wilcoxon(over, alternative="greater").pvalue)
    assert {"image", "class"}.isdisjoint(found)


def test_a_class_that_is_asked_for_is_explained_in_every_image():
    found = lime_study.explain_images(lime_study.predictor(Spot()), images(), "grid", 16, 100, 0, target=1)
    assert {one[1].target for one in found if one} == {1}
