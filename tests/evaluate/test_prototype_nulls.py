"""Nulls, the curve over windows and companions are those of plain cases."""

import numpy as np
import pytest
import torch

from winnow.evaluate.prototype_nulls import centre_peaks, companions, null_scores, window_curve
from winnow.evaluate.prototype_scores import consistency, hits_at

SIZE = (64, 48)


def test_nulls_tell_a_part_from_the_middle_of_the_image():
    random = np.random.default_rng(3)
    n, labels, of = 60, np.arange(60) % 3, np.repeat(np.arange(3), 2)
    xy = np.stack([random.integers(0, 48, (n, 6)), random.integers(0, 64, (n, 6))], 2).astype(float)
    visible = np.ones((n, 6), bool)
    at = np.repeat(xy[:, :1, ::-1], 6, axis=1).astype(int)  # all on part 0
    real = consistency(hits_at(at, xy, visible, 3), visible, of, labels).value
    nulls = null_scores(at, xy, visible, of, labels, 3)
    assert real == 100 and nulls["permuted"] < 20 and nulls["location"] < 20
    centred = xy.copy()
    centred[:, 0] = [24, 32]  # a part that is always in the middle: the place alone explains the score
    middle = centre_peaks(torch.rand(n, 6, 4, 4), SIZE)
    assert (middle == [32, 24]).all()
    assert (centre_peaks(torch.zeros(1, 1, 4, 4), SIZE) == -1).all()
    found = null_scores(middle, centred, visible, of, labels, 3)
    assert found["location"] == 100 and found["permuted"] < 20
    one = np.zeros_like(visible)
    one[:, 0] = True  # with one visible part there is nothing to permute
    assert null_scores(at, xy, one, of, labels, 3)["permuted"] == 100


def test_the_curve_rises_with_the_window_to_everything():
    random = np.random.default_rng(4)
    n, labels, of = 30, np.arange(30) % 3, np.arange(3)
    xy = np.stack([random.integers(0, 48, (n, 4)), random.integers(0, 64, (n, 4))], 2).astype(float)
    at = np.stack([random.integers(0, 64, (n, 3)), random.integers(0, 48, (n, 3))], 2)
    table = window_curve(at, xy, np.ones((n, 4), bool), of, labels, [0, 5, 20, 64])
    assert table.column_names == ["half", "consistency", "permuted", "location"]
    values = table["consistency"].to_pylist()
    assert values == sorted(values) and values[-1] == 100
    assert table["location"].to_pylist()[-1] == 100 and table["permuted"].to_pylist()[-1] == 100


def test_companions_are_those_of_plain_cases():
    n, of, labels = 20, np.array([0, 0, 1, 1]), np.arange(20) % 2
    scores, maps = torch.rand(n, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(n, 4, 3, 3)
    hits = np.zeros((n, 4, 3), bool)
    hits[:, :, 1] = True  # all on one part
    found = companions(scores, maps, hits, of, labels)
    assert found == pytest.approx({"purity": 1.0, "entropy": 1.0, "on_parts": 1.0, "distinct_parts": 1.0})
    hits[:] = False
    hits[:, [0, 2], 0] = hits[:, [1, 3], 2] = True  # each class's two prototypes on two parts
    peaked = maps.clone()
    peaked[:, :, 0, 0] = 1000
    found = companions(scores, peaked, hits, of, labels)
    assert found == pytest.approx({"purity": 1.0, "entropy": 0.0, "on_parts": 1.0, "distinct_parts": 2.0}, abs=1e-9)
    hits[::2] = False
    top = scores.argsort(dim=0, descending=True)[:10].numpy()
    expected = np.mean([hits[top[:, j], j].mean(0).max() for j in range(4)])
    assert companions(scores, maps, hits, of, labels)["purity"] == pytest.approx(expected)
    assert companions(scores, maps, hits, of, labels)["on_parts"] == 0.5
