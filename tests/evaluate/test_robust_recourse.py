"""Robust recourse against brute force over all deletions, another solver, and closed forms."""

from itertools import combinations

import numpy as np
import pytest

from tests.evaluate.recourse_rows import fitted, rejected
from winnow.attribution.influence import Influence
from winnow.errors import InputError
from winnow.evaluate.nearest_point import length, nearest
from winnow.evaluate.robust_recourse import (
    adversary_of,
    cutting_planes,
    deletions,
    extra_cost_bound,
    outputs,
    roar,
    robust_recourse,
)


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
