"""Reasons on planted sets: the drawing keeps its promise, and the scores are those of cases enumerated by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from winnow.errors import InputError
from winnow.evaluate.planted_reasons import (
    PlantedSet,
    copied_pairs,
    copies_found,
    draw_planted,
    flagged,
    named,
    on_part,
    reasons_of,
    with_copies,
)

EDITS = ("hue", "shape", "texture")
REFERENCE = np.ones((2, 3))


def test_the_part_is_seen_where_its_point_says():
    drawn = draw_planted("hue", "body", 24, 3, 56)
    assert drawn.pixels.shape == (24, 56, 56, 3) and drawn.classes == ("red", "yellow", "green", "cyan")
    assert set(drawn.labels.tolist()) == {0, 1, 2, 3} and drawn.visible.any()
    # The planted hue is what the pixel at the point shows: the strongest channel of red and of green.
    for label, strongest in ((0, 0), (2, 1)):
        rows = np.flatnonzero((drawn.labels.numpy() == label) & drawn.visible[:, 0])
        columns, lines = drawn.xy[rows, 0].astype(int).T
        assert (drawn.pixels[rows, lines, columns].argmax(axis=1) == strongest).mean() >= 0.8
    prefix = draw_planted("hue", "body", 6, 3, 56)
    assert np.array_equal(prefix.pixels, drawn.pixels[:6])
    assert np.array_equal(drawn.split(slice(2, 5)).pixels, drawn.pixels[2:5])


def test_an_absent_part_is_not_visible():
    drawn = draw_planted(None, "tail", 60, 0, 56)
    absent = (drawn.xy[:, 0] == -1).all(axis=1)
    assert absent.any() and not drawn.visible[absent].any() and drawn.visible.any()


def test_prototypes_on_the_part_peak_at_it_in_half_of_their_class():
    xy = np.array([[[2, 2]], [[6, 6]], [[2, 6]], [[2, 6]]], np.float32)
    visible = np.array([[True], [True], [True], [False]])
    images = PlantedSet(np.zeros((4, 8, 8, 3), np.uint8), torch.tensor([0, 0, 1, 1]), xy, visible, ("a", "b"))
    maps = torch.zeros(4, 4, 8, 8)
    maps[0, 0, 2, 2] = maps[1, 0, 0, 0] = 1  # class 0: half of its images
    maps[0, 1, 0, 7] = maps[1, 1, 0, 7] = 1  # class 0: none
    maps[2, 2, 6, 2] = 1  # class 1: all in which the part is seen; x and y differ
    maps[2, 3, 2, 6] = 1  # class 1: x taken for y
    classes = np.array([0, 0, 1, 1])
    assert on_part(maps, classes, images, 1).tolist() == [True, False, True, False]
    assert on_part(maps, classes, images, 1, least=0.6).tolist() == [False, False, True, False]
    hidden = images._replace(visible=np.zeros((4, 1), bool))
    assert not on_part(maps, classes, hidden, 1).any()


def test_the_share_that_is_named_counts_the_chosen_alone_and_has_a_binomial_p():
    importance = np.array([[3.0, 1, 1], [3, 1, 1], [1, 1, 3], [1, 1, 3]])
    found = named(importance, REFERENCE, EDITS, np.array([True, True, True, False]), "hue")
    assert found["named"] == pytest.approx(2 / 3) and found["prototypes"] == 3
    assert found["named_p"] == pytest.approx(1 - stats.binom.cdf(1, 3, 1 / 3))
    # Divided by the reference, a weak edit can come first.
    assert named(importance[:1], REFERENCE * [100, 1, 100], EDITS, np.array([True]), "shape")["named"] == 1
    none = named(importance, REFERENCE, EDITS, np.zeros(4, bool), "hue")
    assert np.isnan(none["named"]) and np.isnan(none["named_p"]) and none["prototypes"] == 0
    with pytest.raises(InputError, match="'colour' is none of hue"):
        named(importance, REFERENCE, EDITS, np.ones(4, bool), "colour")


def test_prototypes_are_flagged_that_answer_to_another_edit_than_meets_the_eye():
    importance = np.array([[3.0, 1, 1], [1, 1, 3], [1, 1, 3]])
    assert flagged(importance, REFERENCE, EDITS, np.array([True, True, False]), "hue") == 0.5
    assert np.isnan(flagged(importance, REFERENCE, EDITS, np.zeros(3, bool), "hue"))


def test_the_most_frequent_prototype_of_a_class_is_copied_over_the_least():
    classes = np.array([0, 0, 0, 1, 2, 2])
    assert copied_pairs(classes, np.array([0.2, 0.9, 0.1, 1.0, 0.0, 0.0])) == [(1, 2)]


def test_copies_differ_from_their_source_by_the_noise_and_nothing_else_changes():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.prototypes = torch.nn.Parameter(torch.eye(4) * 3)

    model = Network()
    copied = with_copies(model, [(0, 2)], 0.1, seed=0)
    assert torch.equal(model.prototypes, torch.eye(4) * 3)
    distance = (copied.prototypes[2] - copied.prototypes[0]).norm().detach()
    assert float(distance) == pytest.approx(0.3, rel=1e-5)
    assert torch.equal(copied.prototypes[[0, 1, 3]], model.prototypes[[0, 1, 3]])
    assert torch.equal(with_copies(model, [(0, 2)], 0.1, seed=0).prototypes, copied.prototypes)


def test_copies_are_found_among_the_redundant_pairs_and_others_are_counted():
    random = np.random.default_rng(0)
    vectors, importance = random.normal(size=(6, 8)), random.normal(size=(6, 5))
    for i, j in ((0, 1), (3, 4)):
        vectors[j], importance[j] = vectors[i] + 0.001, importance[i] + 0.001
    classes, parts = np.array([0, 0, 0, 1, 1, 1]), ["head"] * 6
    found = copies_found(vectors, importance, classes, parts, [(1, 0), (3, 5)])
    assert found == {"copies_found": 0.5, "copies": 2, "other_pairs": 1}
    assert np.isnan(copies_found(vectors, importance, classes, parts, [])["copies_found"])


def test_a_planted_set_gives_the_same_reasons_again():
    sizes = {"side": 56, "scenes": 16, "judged": 4, "epochs": 1, "half": 9, "seed": 0}
    first, again = (reasons_of("hue", "body", **sizes) for _ in range(2))
    assert first.importance.shape == (16, 6) and np.isfinite(first.importance).all()
    assert np.array_equal(first.importance, again.importance) and 0 <= first.accuracy <= 1
    assert first.on_part.shape == (16,)
