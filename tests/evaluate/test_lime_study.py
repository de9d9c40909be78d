"""The study of LIME on images, on a model that looks at one spot."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from winnow.errors import InputError
from winnow.evaluate import lime_study
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


def test_the_first_explained_image_of_each_class_is_told_with_its_regions_and_truth():
    found = lime_study.explain_images(lime_study.predictor(Spot()), images(), "grid", 16, 100, 0)
    found[0] = None
    classes, numbers = ["wreck", "mine", "mine", "wreck", "wreck"], np.array([10, 11, 12, 13, 14])
    pixels = (images()[..., None] * 100).astype(np.uint8)
    maps = lime_study.overlay_maps("grid", found, classes, pixels, truth(), numbers)
    assert maps["numbers"].tolist() == [11, 13]
    assert np.array_equal(maps["images"], pixels[[1, 3]])
    assert np.array_equal(maps["truth"].astype(bool), truth()[[1, 3]].any(axis=1))
    assert np.array_equal(maps["grid"], np.stack([found[1][0], found[3][0]]))
    assert {name: part.dtype for name, part in maps.items() if name != "numbers"} == {
        "images": np.uint8,
        "truth": np.uint8,
        "grid": np.int32,
    }


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


def test_each_image_is_cut_and_explained_by_a_seed_of_its_own(monkeypatch):
    cut, asked = [], []

    def regions_of(name, image, segments, seed):
        cut.append((name, segments, seed))
        return grid(image, segments)

    def explain(predict, image, labels, target, samples, seed):
        asked.append((target, samples, seed))
        return SimpleNamespace(target=target)

    monkeypatch.setattr(lime_study, "regions_of", regions_of)
    monkeypatch.setattr(lime_study, "explain", explain)
    lime_study.explain_images(None, images(3), "slic", 16, 70, 5, target=1)
    assert cut == [("slic", 16, 5), ("slic", 16, 6), ("slic", 16, 7)]
    assert asked == [(1, 70, 5), (1, 70, 6), (1, 70, 7)]


def test_regions_are_asked_for_within_an_eighth_of_a_calmed_image_or_drawn(monkeypatch):
    asked = []
    monkeypatch.setattr(lime_study, "match_count", lambda *given: asked.append(given) or "matched")
    monkeypatch.setattr(lime_study, "random_cells", lambda *given: asked.append(given) or "drawn")
    image = images(1)[0]
    assert (
        lime_study.regions_of("slic", image, 16, 3) == "matched"
        and lime_study.regions_of("random", image, 9, 4) == "drawn"
    )
    (cut, calmed, segments, share), (drawn, cells, seed) = asked
    assert cut is lime_study.SEGMENTERS["slic"] and (segments, share) == (16, 0.12)
    assert np.array_equal(calmed, lime_study.calm(image)) and drawn is image and (cells, seed) == (9, 4)


def test_a_row_has_what_each_measure_says_of_its_image(monkeypatch):
    calls = {"localisation": [], "deletion_drops": [], "explain": [], "stability": []}

    def localisation(labels, weight, there, top):
        calls["localisation"].append((labels, weight, there, top))
        return {"precision": 0.1 * len(calls["localisation"]), "share": 10.0 * len(calls["localisation"])}

    def deletion_drops(predict, image, labels, explanation, top, seed):
        calls["deletion_drops"].append((image, labels, explanation, top, seed))
        return 0.75, 0.25

    def explain(predict, image, labels, target, samples, seed):
        calls["explain"].append((image, labels, target, samples, seed))
        return seed

    def stability(again, top):
        calls["stability"].append((again, top))
        return 0.5

    for function in (localisation, deletion_drops, explain, stability):
        monkeypatch.setattr(lime_study, function.__name__, function)
    given = [SimpleNamespace(weight=f"w{i}", r2=0.1 * i, effective_samples=10 + i, target=i) for i in range(4)]
    found = [(np.full((2, 2), i + 1), one) for i, one in enumerate(given)]
    found[1] = None
    there = truth(4)
    rows = lime_study.measure("predict", images(4), there, found, 3, 200, 3, 50)
    assert [row["image"] for row in rows] == [0, 2, 3] and [row["regions"] for row in rows] == [2, 4, 5]
    for place, (i, row) in enumerate(zip((0, 2, 3), rows, strict=True)):
        whole, shadow = calls["localisation"][2 * place : 2 * place + 2]
        assert whole[0] is shadow[0] is found[i][0] and whole[1] == shadow[1] == f"w{i}" and whole[3] == shadow[3] == 3
        assert np.array_equal(whole[2], there[i, 0] | there[i, 1]) and np.array_equal(shadow[2], there[i, 1])
        assert row["precision"] == pytest.approx(0.1 * (2 * place + 1)) and row["share"] == 10.0 * (2 * place + 1)
        assert row["shadow_share"] == 10.0 * (2 * place + 2) and (row["drop"], row["random_drop"]) == (0.75, 0.25)
        assert (row["r2"], row["effective_samples"]) == (given[i].r2, 10 + i)
        image, _, explanation, top, seed = calls["deletion_drops"][place]
        assert np.array_equal(image, images(4)[i]) and explanation is given[i] and (top, seed) == (3, 50 + i)
    # Of the first three images alone, and by three draws of masks.
    assert [row["stability"] for row in rows] == [0.5, 0.5, None]
    assert calls["stability"] == [([1000, 1001, 1002], 3)] * 2
    assert [(target, samples) for _, _, target, samples, _ in calls["explain"]] == [(0, 200)] * 3 + [(2, 200)] * 3


def test_a_pick_is_beside_the_means_of_random_ones_and_the_best_of_a_small_pool(monkeypatch):
    table = np.random.default_rng(4).random((14, 6)) * (np.random.default_rng(5).random((14, 6)) < 0.4)
    given = {}
    weights = [np.array([-1.0, 3, 2, 0.5, 4, 1, 6]), *(np.arange(7.0) for _ in range(14))]
    found = [(np.full((2, 2), i), SimpleNamespace(weight=weights[i])) for i in range(15)]
    found[3] = None

    def word_weights(kept, words):
        given.update(kept=kept, words=words)
        return table

    monkeypatch.setattr(lime_study, "describe_regions", lambda image, labels: np.full((7, 2), labels[0, 0]))
    monkeypatch.setattr(lime_study, "visual_words", lambda descriptors, words, seed: (descriptors, words, seed))
    monkeypatch.setattr(lime_study, "word_weights", word_weights)
    told = lime_study.picks(images(15), found, 4, 6, 9)
    descriptors, words, seed = given["words"]
    assert descriptors[:, 0].tolist() == [i for i in range(15) if i != 3 for _ in range(7)] and (words, seed) == (6, 9)
    # The five largest weights, those above 0 of them.
    assert len(given["kept"]) == 14 and given["kept"][0].tolist() == [0, 3, 2, 0, 4, 1, 6]
    own = [told["chosen"][: k + 1] for k in range(4)]
    rows = [[i - (i > 3) for i in some] for some in own]
    assert (
        told["coverage"] == pytest.approx([lime_study.coverage_of(table, some) for some in rows]) and 3 not in own[-1]
    )
    generator = numpy_generator(9, "random picks")
    orders = [generator.permutation(14).tolist() for _ in range(100)]
    drawn = np.array([[lime_study.coverage_of(table, order[: k + 1]) for k in range(4)] for order in orders])
    assert told["random"] == pytest.approx(drawn.mean(0).tolist())
    assert told["high"] == pytest.approx(np.quantile(drawn[:, 3], 0.95))
    small = table[:12]
    best = max(lime_study.coverage_of(small, some) for some in combinations(range(12), 3))
    assert told["of_best"] == pytest.approx(lime_study.submodular_pick(small, 3)[1][-1] / best)
    monkeypatch.setattr(lime_study, "word_weights", lambda kept, words: np.zeros((2, 6)))
    nothing = lime_study.picks(images(15), found, 4, 6, 9)
    assert nothing["of_best"] == 1 and len(nothing["coverage"]) == len(nothing["random"]) == 2
