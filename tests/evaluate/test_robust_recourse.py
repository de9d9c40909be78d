"""Robust recourse against brute force over all deletions, another solver, and closed forms."""

from itertools import combinations

import numpy as np
import pytest

from winnow.attribution.influence import Influence, influence
from winnow.errors import InputError
from winnow.evaluate.nearest_point import length, nearest
from winnow.evaluate.recourse_audit import (
    Refit,
    audit,
    drops,
    greedy_deletions,
    random_deletions,
    strongest_adversary,
)
from winnow.evaluate.robust_recourse import (
    adversary_of,
    cutting_planes,
    deletions,
    extra_cost_bound,
    outputs,
    roar,
    robust_recourse,
)


def data(n=40, d=3, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d))
    y = (x @ np.linspace(1, 2, d) + generator.logistic(size=n) > 0).astype(float)
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def fitted(n=40, d=3, seed=0, ridge=0.1):
    x, y = data(n, d, seed)
    model = influence(x, y, ridge)
    return x, y, model, Refit(x, y, ridge, model.theta)


def rejected(x, model):
    return x[np.argmin(outputs(x, model.theta))]


def test_with_nothing_deleted_it_is_the_projection_onto_the_boundary():
    x, _, model, _ = fitted()
    query = rejected(x, model)
    found = robust_recourse(query, model, 0, margin=0.2)
    w = model.theta[:-1]
    expected = query + (0.2 - outputs(query, model.theta)) / (w @ w) * w
    assert np.allclose(found.point, expected, atol=1e-9)
    assert (found.status, found.rounds, found.rows.tolist()) == ("found", 1, [])
    assert found.cost == pytest.approx(length(expected - query)) and found.margin == pytest.approx(0.2)


def test_cutting_planes_reach_the_optimum_of_the_concave_margin():
    x, _, model, _ = fitted()
    query = rejected(x, model)
    found = robust_recourse(query, model, 3, margin=0.01)
    phi = np.append(found.point, 1)
    assert model.margin(phi, 3) == pytest.approx(0.01, abs=1e-8) and found.status == "found"
    # All subsets at once are all constraints that there are.
    thetas = np.stack([model.without(np.array(s, int)) for k in range(4) for s in combinations(range(40), k)])
    whole = nearest(query, thetas[:, :-1], 0.01 - thetas[:, -1])
    assert found.cost == pytest.approx(length(whole - query), abs=1e-7)
    assert np.allclose(found.point, whole, atol=1e-5)


def test_the_published_deletion_is_chosen_at_the_query():
    x, _, model, _ = fitted()
    query = rejected(x, model)
    theta = model.without(model.worst(np.append(query, 1), 4))
    both = np.stack([model.theta, theta])
    expected = nearest(query, both[:, :-1], 0.05 - both[:, -1])
    found = robust_recourse(query, model, 4, cuts="query", margin=0.05)
    assert np.allclose(found.point, expected, atol=1e-8)
    assert found.cost <= robust_recourse(query, model, 4, margin=0.05).cost + 1e-9


def test_with_all_deletions_enumerated_none_of_them_breaks_the_recourse():
    x, _, model, refit = fitted(14, 2)
    query = rejected(x, model)
    subsets = [s for k in range(4) for s in combinations(range(14), k)]
    deleted = np.array([np.isin(np.arange(14), s) for s in subsets])
    assert len(subsets) == 470  # 469 deletions, and none
    after = refit(deleted)
    found = robust_recourse(query, model, 3, cuts="enumerate", refit=refit, margin=0.01)
    assert outputs(found.point, after).min() == pytest.approx(0.01, abs=1e-7)
    cut = robust_recourse(query, model, 3, cuts="refit", refit=refit, margin=0.01)
    assert cut.cost <= found.cost + 1e-8
    own = np.isin(np.arange(14), model.worst(np.append(cut.point, 1), 3))
    assert outputs(cut.point, refit(own[None])[0]) >= 0.01 - 1e-8
    # The ranking of influence finds the truly worst deletion here or comes close.
    truth = outputs(cut.point, after).min()
    assert truth > -0.3 and robust_recourse(query, model, 3, margin=0.01).cost < cut.cost


def test_the_dearer_the_more_rows_may_go():
    x, _, model, refit = fitted(60)
    query = rejected(x, model)
    for cuts in ("query", "iterative", "newton", "refit"):
        costs = [robust_recourse(query, model, k, cuts=cuts, refit=refit).cost for k in range(6)]
        assert (np.diff(costs) >= -1e-9).all() and costs[5] > costs[0]


def test_the_extra_cost_stays_below_its_bound():
    for seed in range(8):
        x, _, model, _ = fitted(80, 3, seed, ridge=0.3)
        query = rejected(x, model)
        plain = robust_recourse(query, model, 0)
        for k in (1, 3):
            bound = extra_cost_bound(model, plain.point, k)
            assert 0 < robust_recourse(query, model, k).cost - plain.cost <= bound < np.inf
    assert extra_cost_bound(model, plain.point, 70) == np.inf


def test_roar_withstands_every_shift_in_its_box_and_no_more():
    x, _, model, _ = fitted()
    query = rejected(x, model)
    found = roar(query, model.theta, 0.1, margin=0.02)
    corners = np.array(np.meshgrid(*[[-0.1, 0.1]] * 4)).reshape(4, -1).T
    assert outputs(found.point, model.theta + corners).min() == pytest.approx(0.02, abs=1e-7)
    shifted = model.theta + corners
    whole = nearest(query, shifted[:, :-1], 0.02 - shifted[:, -1])
    assert np.allclose(found.point, whole, atol=1e-6)
    assert roar(query, model.theta, 0).cost == pytest.approx(robust_recourse(query, model, 0).cost, abs=1e-9)
    with pytest.raises(InputError, match="delta is -1"):
        roar(query, model.theta, -1)
    assert roar(query, model.theta, 5.0).status == "infeasible"


def test_infeasible_and_unfinished_searches_say_so():
    x, _, model, refit = fitted()
    query = rejected(x, model)
    none = robust_recourse(query, model, 2, immutable=np.ones(3, bool))
    assert (none.status, none.point) == ("infeasible", None) and np.isnan(none.cost)
    stopped = cutting_planes(query, model.theta, adversary_of(model, query, 5, "iterative"), rounds=1)
    assert stopped.status == "unfinished" and stopped.rounds == 1 and stopped.point is not None
    with pytest.raises(ValueError, match="give refit"):
        robust_recourse(query, model, 2, cuts="refit")
    with pytest.raises(InputError, match="k is 40 of 40"):
        robust_recourse(query, model, 40)


def scripted(*thetas):
    """An adversary that answers so and so, and is asked no more often than that."""
    answers = iter(np.array(theta, float) for theta in thetas)
    return lambda point: (next(answers), np.array([7]))


def test_the_margin_told_is_the_least_over_all_models_that_are_known():
    x, theta = np.zeros(2), np.array([1.0, 0.0, -1.0])
    found = cutting_planes(x, theta, scripted([1, 0, -2], [1, 0, 0]), margin=0.5)
    assert (found.status, found.rounds, found.rows.tolist()) == ("found", 2, [7])
    assert found.point == pytest.approx([2.5, 0]) and found.margin == pytest.approx(0.5)
    stopped = cutting_planes(np.array([-1.0, 3.0]), theta, scripted([1, 0, -2]), margin=0.5, rounds=1)
    assert (stopped.status, stopped.rounds, stopped.rows.tolist()) == ("unfinished", 1, [7])
    assert stopped.cost == pytest.approx(2.5) and stopped.margin == pytest.approx(-0.5)
    never = cutting_planes(x, theta, scripted(), immutable=np.ones(2, bool))
    assert (never.status, never.rounds, never.rows.tolist()) == ("infeasible", 1, []) and np.isnan(never.margin)


def test_a_thousandth_is_asked_for_where_no_margin_is_named():
    x, _, model, _ = fitted()
    query = rejected(x, model)
    for found in (robust_recourse(query, model, 2), roar(query, model.theta, 0.05)):
        assert found.status == "found" and found.margin == pytest.approx(1e-3, abs=1e-8)
    assert roar(query, model.theta, 0.05).rows.tolist() == []


def by_hand(theta, steps):
    """A linear model of which nothing matters but its parameters and what deletions add to them."""
    steps = np.array(steps, float)
    return Influence(np.array(theta, float), np.ones((len(steps), 3)), np.eye(3), np.ones(1), np.ones(1), steps)


def test_the_bound_of_the_extra_cost_by_hand():
    model = by_hand([3, 4, -1], [[0.3, 0.4, 0], [0, 0, 0]])
    # One of two rows moves the parameters by .25; the weights are 5 long, [x, 1] is as long as the root of 6.
    assert extra_cost_bound(model, np.array([1.0, 2.0]), 1) == pytest.approx(0.25 * 6**0.5 / 4.75)
    even = by_hand([3, 4, -1], [[6, 8, 0], [0, 0, 0]])
    assert extra_cost_bound(even, np.array([1.0, 2.0]), 1) == np.inf


def test_only_rows_whose_deletion_lowers_the_output_are_deleted_and_the_intercept_counts_once():
    model = by_hand([1, 1, 0], [[0, 0, -0.5], [0, 0, 0.5], [0, 0, 0], [-3, 0, 1], [1, 0, -1.5]])
    points = np.array([[1.0, 0.0], [0.0, 9.0]])
    scores = [[-0.5, 0.5, 0.0, -2.0, -0.5], [-0.5, 0.5, 0.0, 1.0, -1.5]]
    assert np.allclose(model.scores(np.column_stack([points, np.ones(2)])), scores)
    assert deletions(model, points, 5).tolist() == [[s < 0 for s in row] for row in scores]
    assert deletions(model, points, 1).argmax(axis=1).tolist() == [3, 4]
    # With the intercept counted twice, the last row would be the worst at the first point.
    assert adversary_of(model, points[0], 1, "query")(points[1])[1].tolist() == [3]
    assert adversary_of(model, points[0], 1, "iterative")(points[1])[1].tolist() == [4]


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
    x, y = data()
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
