"""What is told of prototypes, of patches whose characteristics and parts are known."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from winnow.curate.visual_edits import edit
from winnow.errors import InputError
from winnow.evaluate.prototype_explanations import (
    Importances,
    Patches,
    cards,
    explanations,
    flag_shares,
    importances_in_patch,
    parts_of,
    patches_of,
    rows_of,
    sight,
)
from winnow.evaluate.prototype_reasons import Local
from winnow.workloads.annotations import PartPoints
from winnow.workloads.image_tables import decode_png

EDITS = ("hue", "shape", "texture")
PATCHES = Patches(np.array([1, 0]), np.array([[2, 0, 6, 3], [0, 1, 2, 2]]), np.array([0.5, 0.25]))


def test_patches_are_read_from_the_table_and_an_empty_box_is_refused():
    table = {"row": [1, 0], "box": [[2, 0, 6, 3], [0, 1, 2, 2]], "distance": [0.5, 0.25], "class": [0, 1]}
    found = patches_of(pa.table(table))
    assert all(np.array_equal(a, b) for a, b in zip(found, PATCHES, strict=True))
    with pytest.raises(InputError, match=r"prototype 1: its box \[3, 1, 3, 2\] holds no pixel"):
        patches_of(pa.table(table | {"box": [[2, 0, 6, 3], [3, 1, 3, 2]]}))
    with pytest.raises(InputError, match="prototype 0"):
        patches_of(pa.table(table | {"box": [[2, 3, 6, 3], [0, 1, 2, 2]]}))


def test_what_meets_the_eye_is_how_far_an_edit_moves_the_pixels_of_the_patch():
    images = torch.full((2, 3, 8, 8), 0.5)
    images[1, :, :3, 2:6] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]  # red in the first patch, grey elsewhere
    edited = {kind: edit(images, kind) for kind in ("saturation", "brightness")}
    # Brightness .8 moves a channel v by .2 v; saturation .7 moves it by .3 (v - luma), luma of red .3392.
    red = np.array([0.9, 0.1, 0.1])
    expected = [0.3 * np.sqrt(np.mean((red - 0.3392) ** 2)), 0.2 * np.sqrt(np.mean(red**2))]
    assert np.allclose(sight(images, edited, PATCHES), [expected, [0, 0.1]], atol=1e-6)


def test_the_importance_in_a_patch_is_the_drop_in_its_own_image():
    drop = np.arange(2 * 2 * 3, dtype=float).reshape(2, 2, 3)
    local = Local(np.ones((2, 2)), drop, np.zeros((2, 2), int), EDITS)
    assert importances_in_patch(local, PATCHES).tolist() == [[6, 7, 8], [3, 4, 5]]


def test_a_patch_lies_on_the_visible_part_nearest_to_its_middle():
    # Middle of the first box: (3.5, 1). x and y taken for one another would give the beak.
    xy = np.array([[[9, 9], [9, 9], [9, 9]], [[2, 0], [4, 2], [1, 3.5]]], np.float32)
    names = ("head", "wing", "beak")
    points = PartPoints(names, xy, np.ones((2, 3), bool))
    assert parts_of(points, PATCHES) == ["wing", None]
    hidden = points._replace(visible=np.array([[True] * 3, [True, False, True]]))
    assert parts_of(hidden, PATCHES) == ["head", None]
    # The box is closed on the left and open on the right.
    edge = points._replace(xy=np.array([[[2, 1], [1, 2], [0, 1]], [[6, 1], [np.nan, 1], [3, 3]]], np.float32))
    assert parts_of(edge, PATCHES) == [None, "beak"]


def told():
    value = np.array([[4.0, 0.1, 1.0], [0.0, 0.3, 3.0], [4.0, 0.1, 1.0], [np.nan, 0.1, 1.0]])
    in_patch = np.array([[4.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    eye = np.array([[0, 0, 1.0], [0, 0, 1], [1, 0, 0], [0, 0, 1]])
    patches = Patches(np.arange(4), np.tile([0, 0, 2, 2], (4, 1)), np.ones(4))
    vectors = np.array([[0.0], [9], [0.1], [5]])
    parts = ["wing", "wing", "wing", None]
    return explanations(Importances(value, value / 10, in_patch, eye), EDITS, patches, [0, 0, 0, 1], vectors, parts)


def test_characteristics_are_ranked_once_each_edit_is_divided_by_its_mean():
    found = told()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # Mean absolute importances: hue 8/3, shape .15, texture 1.5.
    ranked = [(c["edit"], c["standardised"]) for c in found[0]["characteristics"]]
    assert ranked == [("hue", pytest.approx(1.5)), ("shape", pytest.approx(2 / 3)), ("texture", pytest.approx(2 / 3))]
    first = found[0]["characteristics"][0]
    assert (first["value"], first["error"], first["in_patch"]) == (4, 0.4, 4)
    assert first["percentile"] == pytest.approx(100)
    assert [c["edit"] for c in found[1]["characteristics"]] == ["shape", "texture", "hue"]
    assert found[3]["characteristics"][-1] == {
        "edit": "hue",
        "value": None,
        "error": None,
        "standardised": None,
        "percentile": 0.0,
        "in_patch": 0.0,
    }
    assert found[0]["sentence"] == "mostly hue" and found[3]["class"] == 1
    assert found[2]["patch"] == {"row": 2, "box": [0, 0, 2, 2], "part": "wing"}


def test_flags_say_which_prototypes_mislead_and_which_say_the_same():
    flags = [entry["flags"] for entry in told()]
    # Top edits hue, shape, hue, then shape or texture; to the eye texture, texture, hue, texture.
    assert [f["eye"] for f in flags] == ["texture", "texture", "hue", "texture"]
    assert [f["misleading_sight"] for f in flags][:3] == [True, True, False]
    assert [f["in_patch"] for f in flags] == ["hue", "shape", "texture", "texture"]
    assert [f["misleading_patch"] for f in flags][:3] == [False, False, True]
    assert [f["redundant_with"] for f in flags] == [[2], [], [0], []]
    shares = flag_shares(told()[:3])
    assert shares == {"misleading_sight": 2 / 3, "misleading_patch": 1 / 3, "redundant": 2 / 3}


def test_rows_keep_the_order_of_the_edits_and_null_stays_null():
    test = np.arange(12.0).reshape(4, 3)
    test[1, 2] = np.nan
    rows = rows_of(told(), test, EDITS)
    assert [(r["prototype"], r["edit"], r["test"]) for r in rows[3:6]] == [
        (1, "hue", 3),
        (1, "shape", 4),
        (1, "texture", None),
    ]
    assert rows[0]["train"] == 4 and rows[0]["standardised"] == pytest.approx(1.5) and rows[9]["train"] is None
    assert {"error", "percentile", "sentence", "class"} <= rows[0].keys()


def test_cards_hold_the_patch_and_its_edits_cut_from_the_same_place():
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8) % 256 / 255
    rows = cards(images, {"hue": 1 - images}, PATCHES)
    assert [(r["prototype"], r["edit"], r["distance"]) for r in rows] == [
        (0, "patch", 0.5),
        (0, "hue", 0.5),
        (1, "patch", 0.25),
        (1, "hue", 0.25),
    ]
    expected = (images[1, :, 0:3, 2:6].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(decode_png(rows[0]["png"]), expected)
    assert np.array_equal(decode_png(rows[1]["png"]), 255 - expected)
