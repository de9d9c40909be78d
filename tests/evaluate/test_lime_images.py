"""LIME on images against planted predictors, the authors' package and the definitions."""

import dataclasses
import inspect
import logging

import numpy as np
import pytest
from lime.lime_base import LimeBase
from scipy import ndimage

from winnow.errors import InputError
from winnow.evaluate import lime_images
from winnow.evaluate.lime_images import (
    RegionExplanation,
    cosine_kernel,
    deletion_drops,
    explain,
    fill_values,
    fit,
    localisation,
    predictions,
    random_masks,
    selected,
    stability,
)
from winnow.evaluate.segments import grid

SHAPE = (12, 15)
LABELS = grid(np.zeros(SHAPE), 20)


def picture(seed=0, channels=None):
    shape = SHAPE if channels is None else (*SHAPE, channels)
    return np.random.default_rng(seed).random(shape).astype(np.float32) + 0.5


def planted(weights, image, base=0.1):
    """A predictor of two classes: the first one's probability is linear in which regions are visible."""
    grey = image.reshape(*SHAPE, -1)[..., 0]

    def predict(images):
        same = images.reshape(len(images), *SHAPE, -1)[..., 0] == grey
        visible = np.stack([same[:, k == LABELS].all(1) for k in range(LABELS.max() + 1)], 1)
        p = base + visible @ weights
        return np.stack([p, 1 - p], 1)

    return predict


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("fill", ["mean", "zero", "image_mean", "blur"])
def test_planted_weights_are_recovered_and_regions_that_do_not_matter_have_none(channels, fill):
    image = picture(channels=channels)
    weights = np.zeros(20)
    weights[[3, 7, 12]] = 0.3, 0.2, -0.05
    found = explain(planted(weights, image), image, LABELS, 0, samples=300, fill=fill, ridge=0.0)
    assert found.weight == pytest.approx(weights, abs=1e-6)
    assert found.intercept == pytest.approx(0.1, abs=1e-6) and found.r2 == pytest.approx(1)
    assert found.score == pytest.approx(0.1 + weights.sum()) and found.target == 0
    penalised = explain(planted(weights, image), image, LABELS, samples=300)
    assert penalised.target == 0  # the class of the whole image
    assert np.abs(penalised.weight - weights).max() < 0.1 and set(np.argsort(-penalised.weight)[:2]) == {3, 7}


def test_noise_of_the_predictor_leaves_regions_that_do_not_matter_within_their_error():
    image = picture()
    weights = np.zeros(20)
    weights[4] = 0.5
    clean, rng = planted(weights, image), np.random.default_rng(0)

    def noisy(images):
        p = clean(images)[:, 0] + rng.normal(0, 0.02, len(images))
        return np.stack([p, 1 - p], 1)

    found = explain(noisy, image, LABELS, 0, samples=1000, ridge=0.0)
    error = 0.02 / np.sqrt(0.25 * found.effective_samples)  # of a coefficient of zeros and ones
    assert np.abs(np.delete(found.weight, 4)).max() < 4 * error and found.weight[4] == pytest.approx(0.5, abs=4 * error)


@pytest.mark.parametrize(("features", "method"), [(None, "none"), (4, "forward_selection"), (9, "highest_weights")])
def test_the_fit_is_that_of_the_authors_on_equal_masks(features, method):
    masks = random_masks(200, 20, 3)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=20) / 20
    values = 0.5 + masks @ weights + 0.02 * masks[:, 2] * masks[:, 5] + rng.normal(0, 0.01, 200)
    kernel = cosine_kernel(masks, 0.25)
    ours = fit(masks, values, kernel, 0, features=features)
    outputs = np.stack([values, 1 - values], 1)
    share = masks.mean(1)
    theirs = LimeBase(lambda d: np.exp(-(d**2) / 0.25**2))
    intercept, local, r2, _ = theirs.explain_instance_with_data(
        masks, outputs, 1 - np.sqrt(share), 0, features or 20, method
    )
    expected = np.zeros(20)
    for region, weight in local:
        expected[region] = weight
    assert ours.weight == pytest.approx(expected, abs=1e-8)
    assert ours.intercept == pytest.approx(intercept, abs=1e-8) and ours.r2 == pytest.approx(r2, abs=1e-8)
    assert (ours.weight != 0).sum() == (features or 20)


def test_the_kernel_is_exponential_in_cosine_distance():
    masks = random_masks(50, 8, 0)
    masks[1] = 0
    whole = np.ones(8)
    for mask, weight in zip(masks, cosine_kernel(masks, 0.4), strict=True):
        cosine = mask @ whole / (np.linalg.norm(mask) * np.linalg.norm(whole)) if mask.any() else 0.0
        assert weight == pytest.approx(np.exp(-((1 - cosine) ** 2) / 0.4**2))
    assert (masks[0] == 1).all() and 0.4 < random_masks(500, 40, 1)[1:].mean() < 0.6
    assert (random_masks(5, 8, 0)[1:] != random_masks(5, 8, 1)[1:]).any()


def test_what_is_hidden_shows_its_fill_and_what_is_shown_is_exact(monkeypatch):
    image = picture(channels=3)
    means = np.stack([image[k == LABELS].mean(0) for k in range(20)])
    assert fill_values(image, LABELS, "mean") == pytest.approx(means[LABELS], abs=1e-6)
    assert (fill_values(image, LABELS, "zero") == 0).all()
    assert fill_values(image, LABELS, "image_mean")[3, 4] == pytest.approx(image.mean((0, 1)), abs=1e-6)
    blurred = ndimage.gaussian_filter(image[..., 1].astype(float), 4.0)
    assert fill_values(image, LABELS, "blur")[..., 1] == pytest.approx(blurred, abs=1e-6)
    seen = []

    def predict(images):
        seen.append(images)
        return np.full((len(images), 2), 0.5)

    monkeypatch.setattr("winnow.evaluate.lime_images.PIXELS_PER_CALL", 7 * image.size)
    masks = random_masks(20, 20, 0)
    predictions(predict, image, LABELS, masks, "zero")
    assert [len(batch) for batch in seen] == [7, 7, 6]
    shown = np.concatenate(seen)
    assert (shown[0] == image).all() and shown.dtype == np.float32
    for mask, one in zip(masks, shown, strict=True):
        assert (one == np.where(mask[LABELS][..., None] > 0, image, 0)).all()


def test_localisation_is_counted_in_pixels():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]])
    truth = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], bool)
    found = localisation(labels, np.array([0.5, -1.0, 0.25, 0.0]), truth, top=3)
    # Regions 0 (3 of 4 pixels true) and 2 (1 of 2); 3 has no positive weight.
    assert found == pytest.approx(
        {
            "precision": 4 / 6,
            "recall": 1.0,
            "pointing": 1.0,
            "share": (0.5 * 0.75 + 0.25 * 0.5) / 0.75,
            "random_precision": 4 / 12,
        }
    )
    one = localisation(labels, np.array([0.1, 0.0, 0.25, 0.3]), truth, top=1)
    assert (one["precision"], one["recall"], one["pointing"]) == (0, 0, 0)
    half = localisation(labels, np.array([0.0, 0.0, 0.25, 0.0]), truth, top=1)
    assert half["pointing"] == 0 and half["precision"] == 0.5
    nothing = localisation(labels, -np.ones(4), truth)
    assert (nothing["precision"], nothing["pointing"], nothing["share"]) == (0, 0, 0)
    assert np.isnan(localisation(labels, np.ones(4), np.zeros((3, 4), bool))["recall"])


def test_deletion_takes_the_top_regions_and_random_ones():
    image = picture()
    weights = np.full(20, 0.01)
    weights[[2, 9]] = 0.2, 0.3
    explanation = RegionExplanation(weights, 0.1, 1.0, 0.1 + weights.sum(), 0, 20.0)
    drop, at_random = deletion_drops(planted(weights, image), image, LABELS, explanation, top=2, repeats=400)
    assert drop == pytest.approx(0.5)
    # Two of twenty at random take a tenth of the weight, up to sampling.
    assert at_random == pytest.approx(weights.sum() / 10, abs=0.02)
    again = deletion_drops(planted(weights, image), image, LABELS, explanation, top=2, repeats=400)
    assert again == (drop, at_random)
    everything, all_of_them = deletion_drops(planted(weights, image), image, LABELS, explanation, top=50, repeats=3)
    assert everything == pytest.approx(weights.sum()) == all_of_them


def test_stability_is_the_mean_jaccard_index():
    def one(*top):
        weight = np.zeros(6)
        weight[list(top)] = 1
        return RegionExplanation(weight, 0, 1, 1, 0, 1)

    assert stability([one(0, 1), one(0, 1)], top=2) == 1
    assert stability([one(0, 1), one(1, 2), one(3, 4)], top=2) == pytest.approx((1 / 3 + 0 + 0) / 3)
    with pytest.raises(InputError, match="compares two or more"):
        stability([one(0)])


def test_few_effective_samples_are_warned_of(caplog):
    image = picture()
    with caplog.at_level(logging.WARNING):
        explain(planted(np.full(20, 0.02), image), image, LABELS, samples=300)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        explain(planted(np.full(20, 0.02), image), image, LABELS, samples=10)
    assert "effective samples for 20 regions" in caplog.text


def constant(value, classes=2):
    return lambda images: np.full((len(images), classes), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(SHAPE, int)}, "with 1 regions"),
        ({"labels": LABELS[:-1]}, r"labels \(11, 15\)"),
        ({"image": np.ones(SHAPE)}, "image is constant"),
        ({"predict": constant(np.nan)}, "NaN or infinite"),
        ({"predict": constant(0.7)}, "no distributions"),
        ({"predict": lambda images: np.ones(len(images))}, "no distributions"),
        ({"predict": lambda images: np.tile([1.5, -0.5], (len(images), 1))}, "no distributions"),
        ({"fill": "noise"}, "fill is 'noise'"),
        ({"features": 0}, "features is 0"),
    ],
)
def test_what_cannot_be_explained_is_named(change, message):
    call = {"predict": constant(0.5), "image": picture(), "labels": LABELS, "samples": 50} | change
    with pytest.raises(InputError, match=message):
        explain(**call)


def test_a_predictor_that_never_changes_is_explained_by_nothing():
    found = explain(constant(0.5), picture(), LABELS, samples=100)
    assert np.abs(found.weight).max() < 1e-12 and found.r2 == 0


def test_features_are_chosen_from_what_is_there():
    masks = random_masks(100, 5, 0)
    values = masks @ [0.0, 3.0, 0.0, 1.0, 0.0]
    assert selected(masks, values, np.ones(100), 2).tolist() == [1, 3]
    assert selected(masks, values, np.ones(100), 9).tolist() == [0, 1, 2, 3, 4]


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def test_defaults_are_the_authors():
    """lime's image explainer: 1,000 masks, kernel width .25, ridge 1, all features, and steps up to six features."""
    masks = {"target": None, "samples": 1000, "width": 0.25, "fill": "mean", "features": None, "ridge": 1.0, "seed": 0}
    assert defaults(explain) == masks and defaults(fit) == {"features": None, "ridge": 1.0}
    assert defaults(deletion_drops) == {"top": 5, "fill": "mean", "repeats": 20, "seed": 0}
    assert defaults(localisation) == defaults(stability) == {"top": 5} and lime_images.FORWARD == 6


def test_an_explanation_cannot_be_changed_afterwards():
    found = RegionExplanation(np.ones(2), 0.0, 1.0, 1.0, 0, 2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.r2 = 0.5


def test_two_regions_can_be_explained_and_only_the_first_mask_must_show_all():
    image, halves = picture(), (np.arange(15) > 6).astype(int)[None].repeat(12, 0)
    found = explain(lambda x: np.stack([x.mean((1, 2)) / 2, 1 - x.mean((1, 2)) / 2], 1), image, halves, samples=60)
    assert found.weight.shape == (2,)
    assert random_masks(5, 60, 0)[0].all() and not random_masks(5, 60, 0)[1:].all(axis=1).any()


@pytest.mark.parametrize("row", [[np.nan, 1.0], [0.5, 0.4], [-0.1, 1.1]])
def test_one_bad_prediction_among_good_ones_is_refused(row):
    def predict(images):
        good = np.tile([0.0, 1.0], (len(images), 1))  # a probability may be exactly 0
        good[len(images) // 2] = row
        return good

    masks = random_masks(9, 20, 0)
    with pytest.raises(InputError, match="predict"):
        predictions(predict, picture(), LABELS, masks, "mean")
    fine = predictions(lambda x: np.tile([0.0, 1.0], (len(x), 1)), picture(), LABELS, masks, "mean")
    assert fine.tolist() == [[0.0, 1.0]] * 9


def test_many_masks_go_to_the_model_in_calls_of_bounded_size(monkeypatch):
    sizes = []

    def predict(images):
        sizes.append(len(images))
        return np.stack([images.mean((1, 2)) / 4, 1 - images.mean((1, 2)) / 4], 1)

    masks, image = random_masks(10, 20, 0), picture()
    whole = predictions(predict, image, LABELS, masks, "mean")
    monkeypatch.setattr(lime_images, "PIXELS_PER_CALL", 3 * image.size + 1)
    assert np.allclose(predictions(predict, image, LABELS, masks, "mean"), whole, atol=1e-6)  # float32 means
    monkeypatch.setattr(lime_images, "PIXELS_PER_CALL", 1)
    assert np.allclose(predictions(predict, image, LABELS, masks, "mean"), whole, atol=1e-6)  # float32 means
    assert sizes == [10, 3, 3, 3, 1] + [1] * 10


def test_one_feature_is_the_best_one_and_none_is_refused():
    masks = random_masks(200, 8, 0)
    values = masks @ np.array([0, 0, 3.0, 0, 1, 0, 0, 0])
    assert selected(masks, values, np.ones(200), 1).tolist() == [2]
    assert selected(masks, values, np.ones(200), 8).tolist() == list(range(8))
    with pytest.raises(InputError, match="features is 0"):
        selected(masks, values, np.ones(200), 0)


def test_six_features_are_added_step_by_step_as_the_package_does():
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 2, (60, 12)).astype(float)
    masks[:, 1] = masks[:, 0]  # of twins each has half the weight, but one alone explains both
    values = masks @ np.array([2.0, 2.0, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0, 0, 0, 0]) + rng.normal(0, 0.01, 60)
    package = LimeBase(lambda d: d, random_state=0).forward_selection(masks, values, np.ones(60), 6)
    found = selected(masks, values, np.ones(60), 6)
    assert found.tolist() == sorted(package) and not {0, 1} <= set(found.tolist())


def test_recall_and_pointing_are_shares_of_pixels():
    labels = np.array([[0, 0, 0, 0, 1, 2, 2, 2]])
    truth = np.array([[True, True, True, False, False, True, False, False]])
    found = localisation(labels, np.array([3.0, 2.0, -1.0]), truth, 2)
    # Region 0 has 3 of the 4 true pixels and 4 of its own; the last region of the top is small and has none.
    assert found["recall"] == 0.75 and found["precision"] == 0.6 and found["pointing"] == 1
    alone = localisation(labels, np.array([3.0, -2.0, -1.0]), truth, 2)
    assert alone["pointing"] == 1 and alone["precision"] == 0.75
    half = localisation(np.array([[0, 0, 1, 1]]), np.array([1.0, 0.5]), np.array([[True, False, False, False]]))
    assert half["pointing"] == 0


def test_the_drop_at_random_is_over_random_masks_alone():
    image, weights = picture(), np.zeros(20)
    weights[3] = 0.5
    one = explain(planted(weights, image), image, LABELS, 0, samples=200)
    drop, chance = deletion_drops(planted(weights, image), image, LABELS, one, 1, repeats=400)
    # One region of twenty carries all: half a probability in a twentieth of the draws; five standard errors.
    assert drop == pytest.approx(0.5) and abs(chance - 0.025) < 5 * 0.5 * (0.05 * 0.95 / 400) ** 0.5
    _, once = deletion_drops(planted(weights, image), image, LABELS, one, 20, repeats=1)
    assert once == pytest.approx(0.5)
