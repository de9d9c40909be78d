"""Reasons of prototypes, of models whose reasons are known by construction."""

import numpy as np
import pytest
import torch
from scipy import stats

from winnow.curate.visual_edits import edit, luma
from winnow.errors import InputError
from winnow.evaluate import prototype_reasons
from winnow.evaluate.prototype_reasons import (
    Local,
    agreement,
    describe,
    faithfulness,
    global_importance,
    local_importance,
    misleading,
    percentiles,
    redundant,
    standardised,
    top_edits,
)

EDITS = ("hue", "saturation", "contrast", "brightness", "shape")


class Colours:
    """Prototypes that are colours: similarity is 1 minus the distance to the mean colour of each 4 x 4 cell."""

    def class_of(self):
        return torch.tensor([0, 1, 1])

    def __init__(self, scale=1.0, grey=False):
        self.colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
        self.scale, self.grey = scale, grey

    def maps(self, x):
        cells = torch.nn.functional.avg_pool2d(luma(x).expand_as(x) if self.grey else x, 4)
        return self.scale * (2 - (cells[:, None] - self.colours[None, :, :, None, None]).norm(dim=2))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(7, 3, 16, 16, generator=generator) * 0.3 + 0.3
    x[:, :, 4:8, 8:12] = torch.tensor([0.9, 0.2, 0.2])[:, None, None]
    return x


def test_the_drop_is_taken_at_the_place_of_the_original(images):
    model = Colours()
    found = local_importance(model, images, EDITS)
    maps = model.maps(images)
    for m, kind in enumerate(EDITS):
        changed = model.maps(edit(images, kind))
        for k in range(7):
            for j in range(3):
                row, column = np.unravel_index(int(maps[k, j].argmax()), maps.shape[2:])
                assert found.position[k, j] == row * 4 + column
                assert found.similarity[k, j] == pytest.approx(float(maps[k, j].max()))
                expected = maps[k, j, row, column] - changed[k, j, row, column]
                assert found.drop[k, j, m] == pytest.approx(float(expected), abs=1e-6)
    assert (found.position[:, 0] == 1 * 4 + 2).all()


def test_a_peak_that_moves_is_not_followed():
    class Shifting(Colours):
        def maps(self, x):
            maps = torch.zeros(len(x), 3, 4, 4)
            moved = x.mean(dim=(1, 2, 3)) < 0.4  # the edited image, which is darker
            maps[:, :, 0, 0] = torch.where(moved, 0.25, 1.0)[:, None]
            maps[:, :, 3, 3] = torch.where(moved, 5.0, 0.0)[:, None]
            return maps

    found = local_importance(Shifting(), torch.full((2, 3, 8, 8), 0.45), ["brightness"])
    assert (found.drop == 0.75).all() and (found.position == 0).all()


def test_no_edit_no_drop_and_scaled_similarities_scale_the_drops(images):
    nothing = {"hue": 0.0, "saturation": 1.0, "contrast": 1.0, "brightness": 1.0, "shape": 0.0}
    assert (local_importance(Colours(), images, EDITS, strengths=nothing).drop == 0).all()
    one, three = (local_importance(Colours(scale), images, EDITS) for scale in (1.0, 3.0))
    assert np.allclose(three.drop, 3 * one.drop, atol=1e-5)
    assert np.allclose(global_importance(three)[0], 3 * global_importance(one)[0], atol=1e-5)


def test_a_model_blind_to_colour_has_no_use_for_saturation(images):
    blind = local_importance(Colours(grey=True), images, ["saturation", "brightness"])
    assert np.abs(blind.drop[..., 0]).max() < 1e-6 < np.abs(blind.drop[..., 1]).min()


def test_editing_comes_before_standardising(images):
    def prepare(x):
        return (x - 0.5) / 0.25

    class Raw(Colours):
        def maps(self, x):
            return super().maps(x * 0.25 + 0.5)

    plain, standard = (
        local_importance(Colours(), images, EDITS),
        local_importance(Raw(), images, EDITS, prepare=prepare),
    )
    assert np.allclose(plain.drop, standard.drop, atol=1e-5)


def test_grey_images_have_no_say_on_colour(images):
    mixed = images.clone()
    mixed[2] = mixed[2, :1]
    found = local_importance(Colours(), mixed, EDITS)
    assert np.isnan(found.drop[2, :, :2]).all() and np.isfinite(found.drop[2, :, 2:]).all()
    assert np.isfinite(np.delete(found.drop, 2, axis=0)).all()
    value, _ = global_importance(found)
    others = Local(*(part if isinstance(part, tuple) else np.delete(part, 2, axis=0) for part in found))
    assert np.allclose(value[:, :2], global_importance(others)[0][:, :2])
    only = local_importance(Colours(), mixed[2:3], EDITS)
    assert np.isnan(global_importance(only)[0][:, :2]).all()


def test_the_global_importance_is_the_mean_weighted_by_similarity():
    generator = np.random.default_rng(0)
    g, drop = generator.random((9, 3)).astype(np.float32), generator.normal(size=(9, 3, 2)).astype(np.float32)
    local = Local(g, drop, np.zeros((9, 3), int), ("hue", "shape"))
    value, error = global_importance(local)
    for j in range(3):
        for m in range(2):
            assert value[j, m] == pytest.approx(
                sum(g[k, j] * drop[k, j, m] for k in range(9)) / g[:, j].sum(), rel=1e-5
            )
    labels, classes = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2]), (0, 1, 5)
    own, _ = global_importance(local, labels, classes)
    assert own[1, 0] == pytest.approx((g[3:7, 1] * drop[3:7, 1, 0]).sum() / g[3:7, 1].sum(), rel=1e-5)
    assert np.isnan(own[2]).all()
    single = Local(g[:1], drop[:1], np.zeros((1, 3), int), local.edits)
    assert np.allclose(global_importance(single)[0], drop[0]) and (global_importance(single)[1] < 1e-7).all()
    assert error.shape == (3, 2) and np.array_equal(error, global_importance(local)[1])
    many = Local(np.ones((400, 1), np.float32), generator.normal(size=(400, 1, 1)).astype(np.float32), None, ("hue",))
    assert global_importance(many)[1][0, 0] == pytest.approx(many.drop.std() / 20, rel=0.15)


def test_agreement_is_correlation_gap_and_two_one_sided_tests():
    generator = np.random.default_rng(0)
    a = generator.normal(size=(40, 3)) * [1, 5, 1]
    b = a + generator.normal(0, 0.02, (40, 3)) * [1, 5, 1]
    b[:, 2] = generator.normal(2, 1, 40)
    same, scaled, other = agreement(a, b, ("hue", "shape", "texture"))
    assert same.edit == "hue" and same.correlation == pytest.approx(np.corrcoef(a[:, 0], b[:, 0])[0, 1])
    assert same.gap == pytest.approx(np.abs(a[:, 0] - b[:, 0]).mean() / a[:, 0].std(ddof=1))
    assert same.gap < 0.05 and same.equivalence_p < 0.01 and scaled.equivalence_p < 0.01
    assert other.equivalence_p > 0.5 and other.welch_p < 0.01 and other.gap > 1
    assert same.welch_p == pytest.approx(stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).pvalue)
    a[5, 0] = np.nan
    assert np.isfinite(agreement(a, b, ("hue", "shape", "texture"))[0].gap)
    assert np.isnan(agreement(a * 0, b, ("hue", "shape", "texture"))[1].gap)
    with pytest.raises(InputError, match="'hue': 2 prototypes"):
        agreement(a[:2], b[:2], ("hue", "shape", "texture"))


REFERENCE = np.array([[1.0, 0.1, 2.0], [3.0, 0.1, 2.0], [2.0, -0.1, 2.0]])
NAMES = ("hue", "shape", "texture")


def test_importances_are_standardised_edit_by_edit():
    assert np.allclose(standardised(REFERENCE, REFERENCE), REFERENCE / [2, 0.1, 2])
    assert np.isnan(standardised(REFERENCE, REFERENCE * [1, 0, 1])[:, 1]).all()
    assert top_edits(np.array([[0.1, 0.09, 0], [np.nan] * 3]), REFERENCE, NAMES) == ["shape", None]
    assert np.allclose(percentiles(REFERENCE)[:, 0], [100 / 3, 100, 200 / 3])
    assert (percentiles(REFERENCE)[:, 2] == 100).all()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([4.0, 0.0, 0.1], "mostly hue; texture and shape hardly matter"),
        ([4.0, 0.3, 0.1], "mostly shape and hue; texture hardly matters"),
        ([1.0, 0.0, 0.0], "mostly hue; shape and texture hardly matter"),
        ([4.0, -0.2, 1.0], "mostly hue; more alike without shape"),
        ([0.0, 0.0, 0.1], "none of the edits matters"),
        ([np.nan, 0.2, np.nan], "mostly shape"),
        ([np.nan] * 3, "none of the edits matters"),
    ],
)
def test_a_sentence_says_what_matters_and_what_hardly_does(row, sentence):
    assert describe(np.array(row), REFERENCE, NAMES) == sentence


def test_a_prototype_misleads_whose_reason_is_not_what_meets_the_eye():
    importance = np.array([[4.0, 0, 0], [0.0, 0, 4.0], [np.nan] * 3])
    assert misleading(importance, REFERENCE, NAMES, ["hue", "hue", "hue"]).tolist() == [False, True, False]
    with pytest.raises(InputError, match="'colour' is none of hue"):
        misleading(importance, REFERENCE, NAMES, ["hue", "colour", "hue"])


def test_a_copy_with_noise_is_found_and_its_neighbours_are_not():
    generator = np.random.default_rng(0)
    vectors, importance = generator.normal(size=(6, 8)), generator.normal(size=(6, 5))
    vectors[4], importance[4] = vectors[1] + 0.01, importance[1] + 0.01
    classes, parts = [0, 0, 1, 1, 0, 1], ["head", "wing", "wing", "tail", "wing", None]
    (pair,) = redundant(vectors, importance, classes, parts)
    assert pair[:2] == (1, 4) and pair[2] > 0.99
    assert redundant(vectors, importance, [0, 0, 1, 1, 1, 1], parts) == []
    assert redundant(vectors, importance, classes, ["head", "wing", "wing", "tail", "head", None]) == []
    assert redundant(vectors, importance, classes, ["head", None, "wing", "tail", None, None]) == []
    importance[4] = -importance[4]
    assert redundant(vectors, importance, classes, parts) == []


def test_maps_of_another_shape_are_refused(images):
    class Flat(Colours):
        def maps(self, x):
            return super().maps(x)[:, :2]

    with pytest.raises(InputError, match=r"maps have shape \(7, 2, 4, 4\)"):
        local_importance(Flat(), images, ["hue"])


def test_images_edited_beforehand_give_the_same(images):
    ready = {kind: edit(images, kind) for kind in ("hue", "brightness")}
    found = local_importance(Colours(), images, EDITS, edited=ready)
    assert np.array_equal(found.drop, local_importance(Colours(), images, EDITS).drop)


def test_faithfulness_is_the_rank_correlation_with_what_the_model_loses():
    importance = np.array([[0.1, 0.5, 0.2], [0.3, 0.7, np.nan]])
    assert faithfulness(importance, [0.0, 0.3, 0.0]) == pytest.approx(stats.spearmanr([0.2, 0.6, 0.2], [0, 3, 0])[0])
    assert faithfulness(importance, [0.3, 0.1, 0.4]) == pytest.approx(stats.spearmanr([0.2, 0.6, 0.2], [3, 1, 4])[0])
    assert np.isnan(faithfulness(importance, [0.1, 0.1, 0.1]))
    assert np.isnan(faithfulness(np.full((2, 3), 0.2), [0.1, 0.2, 0.3]))


def test_batches_do_not_change_what_is_found_and_edited_images_are_cut_with_them(images, monkeypatch):
    whole = local_importance(Colours(), images, EDITS)
    monkeypatch.setattr(prototype_reasons, "BATCH", 3)
    ready = {kind: edit(images, kind) for kind in EDITS}
    for found in (local_importance(Colours(), images, EDITS), local_importance(Colours(), images, EDITS, edited=ready)):
        assert np.allclose(found.drop, whole.drop, atol=1e-6) and np.array_equal(found.position, whole.position)


def test_a_class_restricts_images_only_where_both_labels_and_classes_are_given():
    local = Local(
        np.array([[0.25, 1], [0.75, 2]]), np.array([[[1.0], [2]], [[3], [4]]]), np.zeros((2, 2), int), ("hue",)
    )
    every, _ = global_importance(local)
    # Weights that sum to 1 are weights like others.
    assert np.allclose(every, [[2.5], [10 / 3]])
    assert np.array_equal(global_importance(local, labels=np.array([0, 1]))[0], every)
    assert np.array_equal(global_importance(local, classes=[0, 1])[0], every)
    assert np.allclose(global_importance(local, np.array([0, 1]), [0, 1])[0], [[1], [4]])
    opposed, _ = global_importance(local._replace(similarity=-local.similarity))
    assert np.allclose(opposed, every)


def test_agreement_has_bounds_in_deviations_and_leaves_out_what_either_side_lacks():
    a = 50 * np.array([[-1.0, 1], [0, 2], [1, 3], [2, 9]])
    b = a + 50 * np.array([[0.0, 0], [0.001, 0], [-0.001, 0], [0, 0]])
    b[3, 0] = np.nan
    found = agreement(a, b, ("hue", "shape"))[0]
    x, y = a[:3, 0], b[:3, 0]
    assert found.correlation == pytest.approx(np.corrcoef(x, y)[0, 1]) and found.equivalence_p < 0.001
    # Half a deviation is beyond the usual tenth, whatever the unit, in either direction.
    for unit in (0.01, 50.0):
        x = unit * np.arange(20.0)[:, None]
        noise = unit * 0.01 * np.sin(np.arange(20.0))[:, None]
        for sign in (-1, 1):
            (shifted,) = agreement(x, x + sign * 0.5 * x.std(ddof=1) + noise, ("hue",))
            assert shifted.equivalence_p > 0.99
            (near,) = agreement(x, x + sign * 0.05 * x.std(ddof=1) + noise, ("hue",))
            assert near.equivalence_p < 0.001
    wide = a[:, 1:] * [3.0]
    expected = stats.ttest_ind(a[:, 1], wide[:, 0], equal_var=False).pvalue
    assert agreement(a[:, 1:], wide, ("hue",))[0].welch_p == pytest.approx(expected)
    assert np.isnan(agreement(a[:, 1:], np.ones((4, 1)), ("hue",))[0].correlation)
    for spread in (1.0, 2.0):  # deviations of exactly 1 are no special case
        (one,) = agreement(a[:, 1:], spread * np.array([[1.0], [-1], [1], [-1]]), ("hue",))
        assert np.isfinite(one.gap)


def test_percentiles_count_the_prototypes_that_have_the_edit():
    values = np.array([[1.0, np.nan], [2, 5], [3, 4]])
    assert np.allclose(percentiles(values)[:, 0], [100 / 3, 200 / 3, 100])
    assert np.allclose(percentiles(values)[1:, 1], [100, 50])


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([0.2, 0.0, 0.0], "none of the edits matters"),  # a fifth of the average, no more
        ([1.0, 0.2, 1.0], "mostly hue and texture"),  # the average; a fifth
        ([4.0, 1.9, 1.5], "mostly hue, shape and texture"),
        ([4.0, -0.2, 0.5], "mostly hue; more alike without shape"),
    ],
)
def test_sentences_at_the_bounds(row, sentence):
    assert describe(np.array(row), np.ones((1, 3)), NAMES) == sentence


def test_what_is_unknown_is_passed_over():
    assert top_edits(np.array([[np.nan, 0.01, 1.0]]), REFERENCE, NAMES) == ["texture"]
    importance = np.array([[4.0, 0, 0], [0.0, 0, 4.0]])
    assert misleading(importance, REFERENCE, NAMES, [None, "hue"]).tolist() == [False, True]
    with pytest.raises(InputError, match="'colour' is none of hue, shape, texture"):
        misleading(importance, REFERENCE, NAMES, ["colour", "size"])


def test_a_pair_is_each_others_nearest_and_alike_in_direction_whatever_the_length():
    vectors = np.array([[0.0], [1.0], [1.5], [9.0]])
    importance = np.array([[1.0, 2], [3, 6], [0.3, 0.6], [1, 2]])
    parts = ["wing"] * 4
    # 0 is nearest to 1, which is nearer to 2; 3 is alone in its class.
    ((i, j, alike),) = redundant(vectors, importance, [0, 0, 0, 1], parts)
    assert (i, j) == (1, 2) and alike == pytest.approx(1)
    across = np.array([[1.0, 2], [1, 0], [1, 1], [1, 2]])
    assert redundant(vectors, across, [0, 0, 0, 1], parts) == []
    ((_, _, cosine),) = redundant(vectors, across, [0, 0, 0, 1], parts, least=0.5)
    assert cosine == pytest.approx(0.5**0.5)
    nothing = importance * [[1], [0], [1], [1]]
    assert redundant(vectors, nothing, [0, 0, 0, 1], parts, least=0.0) == []
    assert redundant(vectors, nothing, [0, 0, 0, 1], parts, least=-0.5) == [(1, 2, 0.0)]
    # Alone in their classes, both have a nearest only in name.
    assert redundant(vectors[[3, 0]], importance[[3, 0]], [1, 0], ["wing", "wing"]) == []
