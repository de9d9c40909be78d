"""Toys of occlusion and over-splitting: what is planted is found, and every level has its row."""

from types import SimpleNamespace

import pytest
import torch

from winnow.dictionaries.config import SaeConfig
from winnow.evaluate import dictionary_toys
from winnow.evaluate.dictionary_toys import _rank, nearest_in_l0, occlusion, splitting, toys


def test_toys_know_what_they_plant():
    config = SaeConfig("topk", m=96, k=2, steps=150, batch=512)
    equal, small = (occlusion(ratio, config, [1.0], seed=0, values=20, rows=2048) for ratio in (1.0, 0.4))
    assert abs(equal["larger"] - equal["smaller"]) < 0.1 and small["smaller"] < small["larger"] and equal["l0"] <= 2
    few, many = (
        splitting(SaeConfig("topk", m=m, k=2, steps=100, batch=512), [1.0], seed=0, rows=2048) for m in (4, 64)
    )
    assert many["specific"] > few["specific"] and 0.4 < many["best"] <= few["best"] + 0.1 <= 1.1
    rows = torch.randn(2048, 8, generator=torch.Generator().manual_seed(0))
    sparse = SaeConfig("relu_l1", m=16, steps=100, batch=512)
    counts = [
        float((nearest_in_l0(rows, sparse, penalties, 2.0).dense(rows) > 0).double().sum(1).mean())
        for penalties in ([0.1], [4.0], [0.1, 4.0])
    ]
    assert counts[2] == min(counts[:2], key=lambda count: abs(count - 2))


def test_toys_give_every_ratio_width_and_rank():
    settings = SimpleNamespace(
        steps=5, batch_size=64, penalties=[1.0], width=8, ratios=[1.0, 0.5, 0.4], widths=[4, 8, 16]
    )
    found = toys(settings, 0)
    assert list(found["toy_occlusion"]) == ["r1", "r0.5", "r0.4"] and list(found["toy_splitting"]) == [
        "m4",
        "m8",
        "m16",
    ]
    assert all(-1 <= row["rank_correlation"] <= 1 for row in found["toys"].values()) and len(found["toys"]) == 3


@pytest.fixture
def planted(monkeypatch):
    """In the place of the fitted dictionary a function of rows; notes what it would have been fitted to."""
    told = SimpleNamespace(dense=lambda rows: torch.zeros(len(rows), 3))

    def nearest(rows, config, penalties, active):
        told.rows, told.arguments = rows, (config, penalties, active)
        return told

    monkeypatch.setattr(dictionary_toys, "nearest_in_l0", nearest)
    return told


def test_occlusion_is_of_two_attributes_of_forty_values_in_48_dimensions(planted):
    assert occlusion(0.0, "config", [3.0], seed=0) == {"larger": 0, "smaller": 0, "l0": 0}
    assert planted.rows.shape == (8192, 48) and planted.arguments == ("config", [3.0], 2.0)
    # Without the smaller one there are only the directions of the larger.
    directions, counts = planted.rows.unique(dim=0, return_counts=True)
    assert len(directions) == 40 and counts.min() > 120
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(40))
    occlusion(0.5, "config", [3.0], seed=0, values=3, d=5, rows=64)
    assert len(planted.rows.unique(dim=0)) == 9 and planted.rows.shape == (64, 5)


def test_each_attribute_is_found_by_the_best_feature_of_each_of_its_values(planted):
    occlusion(0.0, None, [], seed=0, values=2, d=4, rows=64)
    first = planted.rows[0]
    # A feature for each value of the larger attribute, and one that fires always.
    planted.dense = lambda rows: torch.stack(
        [(rows == first).all(1), (rows != first).any(1), rows[:, 0] < 9], 1
    ).float()
    found = occlusion(0.0, None, [], seed=0, values=2, d=4, rows=64)
    assert found["larger"] == 1 and 0.4 < found["smaller"] < 0.9 and found["l0"] == 2


def test_a_feature_is_specific_that_fires_for_one_class_in_nine_rows_of_ten_and_not_too_rarely(planted):
    splitting(None, [2.0], seed=0, noise=0.0, rows=2000)
    assert planted.rows.shape == (2000, 16) and planted.arguments == (None, [2.0], 2.0)
    classes = planted.rows.unique(dim=0)
    torch.testing.assert_close(classes[0], -classes[1])
    assert float(classes[0].norm()) == pytest.approx(1)

    def first(mask, number):
        return mask & (mask.cumsum(0) <= number)

    def dense(rows):
        one = (rows == classes[0]).all(1)
        nine, eight = (first(one, 9 * k) | first(~one, k) for k in (1, 2))
        halves = [first(one, int(one.sum()) // 2), one & ~first(one, int(one.sum()) // 2)]
        columns = [*halves, nine, first(~one, 18) | first(one, 2), first(one, 8) | first(~one, 1), eight]
        return torch.stack([*columns, first(one, 2), first(~one, 1), one | ~one, one & ~one], 1).float()

    planted.dense = dense
    found = splitting(None, [], seed=0, noise=0.0, rows=2000)
    # Both halves, nine of ten either way twice, and two rows of 2000; neither eight of nine, one row, all nor none.
    assert found["specific"] == 6
    # Of single features the one that always fires is best: the union of the halves would be 1.
    assert 0.64 < found["best"] < 0.7
    splitting(None, [], seed=0)
    assert planted.rows.shape == (8192, 16)
    across = planted.rows - planted.rows @ torch.outer(classes[0], classes[0])
    assert float(across.square().sum(1).mean()) == pytest.approx(15 * 0.3**2, rel=0.03)


def test_a_rank_is_none_where_nothing_varies():
    assert _rank([1, 2, 3], [5.0, 5.0, 5.0]) == 0.0
    assert _rank([1, 2, 3], [0.1, 0.2, 0.9]) == 1.0 and _rank([1, 2, 3], [3.0, 2.0, 1.0]) == -1.0
