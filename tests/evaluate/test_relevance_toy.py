"""The toy experiment is checked by ranks of scipy, by dead units that must go first, and by its draws."""

import numpy as np
import pytest
import torch
from scipy import stats

from winnow.evaluate.relevance_pruning import accuracy
from winnow.evaluate.relevance_toy import CLASSES, TOYS, points, rank_agreement, runs, toy_network


def test_agreement_is_the_mean_of_scipys_rank_correlations():
    scores = np.random.default_rng(0).normal(size=(5, 30)).round(1)  # with ties
    pairs = [stats.spearmanr(scores[i], scores[j]).statistic for i in range(5) for j in range(i)]
    assert rank_agreement(scores) == pytest.approx(np.mean(pairs))
    assert rank_agreement(np.stack([scores[0]] * 3)) == pytest.approx(1)
    scores[2] = 4
    assert rank_agreement(scores) is None


@pytest.mark.parametrize("name", TOYS)
def test_points_are_standardised_of_all_classes_and_new_with_each_seed(name):
    x, y = points(name, 200, 0)
    assert x.shape == (200, 2, 1, 1) and y.unique().tolist() == list(range(CLASSES[name]))
    assert x.mean(0).abs().max() < 1e-6 and (x.std(0, correction=0) - 1).abs().max() < 1e-5
    assert torch.equal(x, points(name, 200, 0)[0]) and not torch.equal(x, points(name, 200, 1)[0])


@pytest.mark.parametrize("name", TOYS)
def test_a_network_learns_a_toy_and_loses_nothing_with_its_dead_units(name):
    train, test = points(name, 300, 0), points(name, 300, 1)
    model = toy_network(name, train, 60, 40, 3e-3, 0)
    with torch.no_grad():
        for layer in (model.linear1, model.linear2, model.linear3):
            layer.weight[::2], layer.bias[::2] = 0, 0
    before = {key: value.clone() for key, value in model.state_dict().items()}
    dense = accuracy(model, *test)
    for kind in ("relevance", "taylor", "weight"):
        # Units that no sample of 50 a class makes active count as little as dead ones: a few of 180 are left apart.
        found = list(runs(model, train, test, kind, 50, 2, 0.4, 0))
        assert all(run.scores.shape == (180,) and (run.scores[::2] == 0).all() for run in found)
        assert all(run.accuracy == pytest.approx(dense, abs=0.02) for run in found)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert accuracy(toy_network(name, train, 60, 40, 3e-3, 0), *test) > 0.9


def test_weights_need_no_samples_and_other_criteria_see_the_ones_that_are_drawn():
    train, test = points("moons", 100, 0), points("moons", 100, 1)
    model = toy_network("moons", train, 10, 2, 1e-3, 0)
    same = [run.scores for run in runs(model, train, test, "weight", 2, 3, 0.3, 0)]
    assert np.array_equal(same[0], same[1]) and rank_agreement(np.stack(same)) == pytest.approx(1)
    other = [run.scores for run in runs(model, train, test, "taylor", 2, 3, 0.3, 0)]
    assert not np.array_equal(other[0], other[1])
    again = [run.scores for run in runs(model, train, test, "taylor", 2, 3, 0.3, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(other, again, strict=True))
    # With every sample of a class, all draws are the same set.
    whole = [run.scores for run in runs(model, train, test, "relevance", 50, 2, 0.3, 0)]
    assert np.allclose(whole[0], whole[1], rtol=1e-3)
