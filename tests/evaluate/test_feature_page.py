"""A page holds what was found, rounded to what it can show, and no markup of its data."""

import base64

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.evaluate.feature_examples import ROWS, Passing, axes, content, table_of
from winnow.evaluate.feature_browser import Examples, Fired, feature_table
from winnow.evaluate.feature_page import AROUND, feature_page


def test_a_page_holds_no_markup_of_its_data_and_is_the_same_again():
    table, where, examples = table_of(ROWS)
    named = examples._replace(outputs=["</script><b>", "b", "c", "d"])
    again = feature_table(axes(), Passing(), named, "hook", where, 3)
    page = feature_page(again, where, named, "<i>title</i>")
    assert (
        "</script><b>" not in page
        and "<i>title" not in page
        and page == feature_page(again, where, named, "<i>title</i>")
    )
    assert content(page)["features"][0]["lowered"][0] == "</script><b>"
    assert content(page)["pictures"].keys() == {"0", "1", "2", "3"}


def test_a_page_tells_of_each_feature_what_the_table_does_to_three_digits():
    x = torch.tensor([[3.14159, 0, 0, 1], [0, 5, 0, 1], [1.23456, 0, 0, 1], [2, 0, 0, 1]])
    table, where, examples = table_of(x)
    shown = content(feature_page(table, where, examples, "t"))
    assert shown["title"] == "t" and [feature["feature"] for feature in shown["features"]] == list(range(5))
    first, row = shown["features"][0], table.to_pylist()[0]
    assert (first["density"], first["mean"], first["largest"]) == (0.75, 2.13, 3.14)
    assert [s["activation"] for s in first["seen"]] == [3.14, 2.0, 1.23]
    assert [s["example"] for s in first["seen"]] == [0, 3, 2] and all(s["map"] == [] for s in first["seen"])
    for name in ("cosines", "raised_by", "lowered_by"):
        assert first[name] == pytest.approx(row[name], rel=5e-3) and all(len(f"{v:g}") <= 9 for v in first[name])
    assert {name: first[name] for name in ("neighbours", "raised", "lowered")} == {
        name: row[name] for name in ("neighbours", "raised", "lowered")
    }
    dead = shown["features"][4]
    assert dead["seen"] == [] and dead["density"] == 0


def test_pictures_are_those_of_the_examples_that_are_shown_once_each():
    table, where, examples = table_of(ROWS, top=1)
    pictures = content(feature_page(table, where, examples, "t"))["pictures"]
    # The strongest of features 0, 1 and 3.
    assert pictures.keys() == {"0", "1"}
    head = "data:image/png;base64,"
    for name, url in pictures.items():
        assert url.startswith(head) and base64.b64decode(url.removeprefix(head)) == examples.show(int(name))


def fired_at(places, rows_per_example):
    """Activations (feature, row, value) as the browser has them."""
    which, rows, values = zip(*sorted(places), strict=True)
    return Fired(np.array(which), np.array(rows), np.array(values, np.float32), rows_per_example)


def row_of(feature, examples, positions, activations):
    empty = {name: [] for name in ("neighbours", "cosines", "raised", "raised_by", "lowered", "lowered_by")}
    told = {"feature": feature, "density": 0.5, "mean": 1.0, "largest": 2.0, **empty}
    return told | {"examples": examples, "positions": positions, "activations": activations}


def page_of(row, where, show):
    table = pa.Table.from_pylist([row])
    return content(feature_page(table, where, Examples(None, None, [], show), "t"))


@pytest.mark.parametrize(
    ("position", "first", "last"), [(0, 0, 25), (10, 0, 35), (24, 0, 49), (30, 6, 55), (99, 75, 100)]
)
def test_tokens_are_shown_up_to_24_on_either_side_of_the_strongest_with_their_strengths(position, first, last):
    places = [(1, 200 + position, 9.0), (1, 200 + first, 1.5), (1, 199, 7.0), (2, 201, 4.0), (1, 300, 8.0)]
    where = fired_at([p for i, p in enumerate(places) if p[:2] not in {q[:2] for q in places[:i]}], 100)
    words = [f"w{i}" for i in range(100)]
    (feature,) = page_of(row_of(1, [2], [position], [9.0]), where, lambda example: words)["features"]
    (seen,) = feature["seen"]
    assert seen["tokens"] == words[first:last] and seen["tokens"][seen["at"]] == f"w{position}"
    strength = dict.fromkeys(range(first, last), 0.0) | {first: 1.5, position: 9.0}
    assert seen["strength"] == [strength[i] for i in range(first, last)]
    assert AROUND == 24


def test_padding_after_the_tokens_has_no_strength_to_show():
    where = fired_at([(1, 3, 2.0)], 10)
    (feature,) = page_of(row_of(1, [0], [3], [2.0]), where, lambda example: ["a", "b", "c", "d"])["features"]
    assert feature["seen"][0]["strength"] == [0, 0, 0, 2.0] and "map" not in feature["seen"][0]


@pytest.mark.parametrize(("rows", "side"), [(1, 0), (4, 2), (5, 0), (9, 3)])
def test_a_picture_has_a_map_where_its_rows_are_a_square_of_more_than_one(rows, side):
    places = [(0, rows, 1.0), (1, 0, 5.0), (1, rows, 2.345)] + [(1, 2 * rows - 1, 3.0)] * (rows > 1)
    where = fired_at(places, rows)
    page = page_of(row_of(1, [1], [0], [2.345]), where, lambda example: b"png")
    (seen,) = page["features"][0]["seen"]
    assert seen["map"] == ([] if not side else [2.35] + [0.0] * (rows - 2) + [3.0]) and "tokens" not in seen
