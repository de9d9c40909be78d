"""Adversaries against true refits by scikit-learn, and what holds against them."""

import numpy as np
import pytest

from tests.evaluate.recourse_rows import data, fitted, rejected
from winnow.evaluate.recourse_audit import (
    Refit,
    audit,
    drops,
    greedy_deletions,
    random_deletions,
    strongest_adversary,
)
from winnow.evaluate.robust_recourse import cutting_planes, deletions, outputs, robust_recourse


def test_refits_are_those_of_scikit_learn_with_a_scaler_of_the_remaining_rows():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y, _, refit = fitted(60)
    deleted = np.random.default_rng(5).random((3, 60)) < 0.2
    probes = np.random.default_rng(6).normal(size=(7, 3))
    for theta, gone in zip(refit(deleted), deleted, strict=True):
        scaler = StandardScaler().fit(x[~gone])
        model = LogisticRegression(C=1 / (0.1 * 60), tol=1e-12, solver="newton-cholesky", max_iter=1000)
        model.fit(scaler.transform(x[~gone]), y[~gone])
        assert np.allclose(outputs(probes, theta), model.decision_function(scaler.transform(probes)), atol=1e-7)


def test_a_column_that_a_deletion_leaves_constant_does_not_break_the_refit():
    x, y = data(40)
    x = np.column_stack([x, np.eye(40)[3]])
    refit = Refit(x, y, 0.1)
    deleted = np.zeros((1, 40), bool)
    deleted[0, 3] = True
    assert np.isfinite(refit(deleted)).all() and refit(deleted)[0, 3] == pytest.approx(0, abs=1e-9)


def test_the_audit_is_a_true_refit_of_each_points_own_deletion():
    x, _, model, refit = fitted(60)
    queries = x[outputs(x, model.theta) < -0.5][:6]
    points = np.stack([robust_recourse(q, model, 3).point for q in queries])
    valid, least = audit(points, model, refit, 3, "influence")
    for point, ok, low in zip(points, valid, least, strict=True):
        rows = np.isin(np.arange(60), model.worst(np.append(point, 1), 3))
        true = outputs(point, refit(rows[None])[0])
        assert low == pytest.approx(true, abs=1e-9) and ok == (true >= 0)
    assert (deletions(model, points, 3).sum(axis=1) <= 3).all()
    predicted, true = drops(points, model, refit, 3)
    assert np.allclose(outputs(points, model.theta) - true, least, atol=1e-9)
    phi = np.column_stack([points, np.ones(len(points))])
    assert np.allclose(predicted, outputs(points, model.theta) - model.margin(phi, 3))
    assert (true > 0).all()


def test_the_greedy_adversary_finds_worse_deletions_than_the_first_order_on_average():
    x, _, model, refit = fitted(80, 4)
    points = x[outputs(x, model.theta) > 0][:12]
    once = audit(points, model, refit, 12, "influence")[1]
    greedy = audit(points, model, refit, 12, "greedy")[1]
    assert greedy.mean() < once.mean()
    deleted = greedy_deletions(points, refit, 12)
    assert (deleted.sum(axis=1) <= 12).all() and deleted.any(axis=1).all()
    # In one part it is the first order, but for the scaler of the remaining rows.
    assert (greedy_deletions(points, refit, 12, parts=1) == deletions(model, points, 12)).mean() > 0.99


def test_a_recourse_cut_by_the_strongest_adversary_outlives_both():
    x, _, model, refit = fitted(80, 4)
    query = rejected(x, model)
    found = cutting_planes(query, model.theta, strongest_adversary(model, refit, 8), margin=0.01)
    assert found.status == "found"
    assert audit(found.point[None], model, refit, 8, "greedy")[0] == [1.0]
    assert audit(found.point[None], model, refit, 8, "influence")[0] == [1.0]


def test_random_deletions_erase_as_many_as_said_and_differ():
    deleted = random_deletions(50, 7, seed=0)
    assert deleted.shape == (200, 50) and (deleted.sum(axis=1) == 7).all()
    assert len(np.unique(deleted, axis=0)) == 200
    assert np.array_equal(deleted, random_deletions(50, 7, seed=0))
    assert (deleted != random_deletions(50, 7, seed=1)).any()
    x, _, model, refit = fitted(50)
    share, least = audit(x[:4], model, refit, 5, "random")
    after = outputs(x[:4][:, None], refit(random_deletions(50, 5, 0))[None])
    assert np.allclose(share, (after >= 0).mean(axis=1)) and np.allclose(least, after.min(axis=1))


def test_points_that_were_not_found_hold_against_nothing():
    x, _, model, refit = fitted()
    points = np.stack([np.full(3, np.nan), np.full(3, 10.0)])
    valid, least = audit(points, model, refit, 2, "influence")
    assert valid.tolist() == [0, 1] and np.isnan(least[0]) and np.isfinite(least[1])
    assert audit(points[:1], model, refit, 2, "greedy")[0].tolist() == [0]


def test_the_strongest_adversary_names_the_worse_of_two_deletions_and_its_refit():
    x, _, model, refit = fitted(80, 4)
    adversary = strongest_adversary(model, refit, 8)
    for point in x[:3]:
        theta, rows = adversary(point)
        tried = np.concatenate([deletions(model, point[None], 8), greedy_deletions(point[None], refit, 8)])
        after = [float(outputs(point, refit(gone[None])[0])) for gone in tried]
        assert float(outputs(point, theta)) == pytest.approx(min(after), abs=1e-9)
        gone = np.isin(np.arange(80), rows)
        assert float(outputs(point, refit(gone[None])[0])) == pytest.approx(min(after), abs=1e-9)


def test_blind_refits_are_made_once_for_each_budget_and_seed():
    x, y = data(30)
    refit = Refit(x, y, 0.1)
    first = refit.blind(3, 0)
    assert refit.blind(3, 0) is first and first.shape == (200, 4)
    assert np.allclose(first[:2], refit(random_deletions(30, 3, 0)[:2]), atol=1e-9)
    assert not np.allclose(refit.blind(3, 1), first) and not np.allclose(refit.blind(4, 0), first)


def test_nothing_erased_leaves_the_output_as_it_is():
    x, _, model, refit = fitted()
    nothing = np.zeros((2, 40), bool)
    assert np.allclose(refit(nothing), np.tile(model.theta, (2, 1)), atol=1e-6)
    assert not greedy_deletions(x[:2], refit, 0).any()
    valid, least = audit(x[:5], model, refit, 0, "influence")
    assert np.allclose(least, outputs(x[:5], model.theta), atol=1e-6)
    assert valid.tolist() == (least >= 0).tolist()
