"""Oracles beside loops over tokens, hindsight where there is nothing to know, and kinds of tokens made by hand."""

import numpy as np
import pytest

from winnow.compress.duo import SKIP, all_routes
from winnow.evaluate import duo_oracles

ROUTES = all_routes(3).numpy()


def noise(tokens=4000):
    return np.random.default_rng(0).normal(2, 0.5, (8, tokens // 10, 10)).astype(np.float32)


def test_oracles_are_loops_over_tokens():
    table = noise(60)
    found = duo_oracles.oracle_report(table, ROUTES)
    for k in range(4):
        rows = [table[i] for i, route in enumerate(ROUTES) if route.sum() == k]
        tokens = [min(row[w, t] for row in rows) for w in range(6) for t in range(10)]
        assert found["oracle", k] == pytest.approx(np.mean(tokens), rel=1e-6)
        assert found["sequence", k] == pytest.approx(np.mean([min(r[w].mean() for r in rows) for w in range(6)]))
        assert found["fixed", k] == pytest.approx(min(r.mean() for r in rows))
        assert found["oracle", k] <= found["sequence", k] <= found["fixed", k] <= found["mean", k]
    gain = duo_oracles.gain(table, ROUTES, 1)
    assert gain == pytest.approx(found["mean", 1] - found["oracle", 1])


def test_noise_looks_like_a_gain_and_does_not_last():
    table = noise()
    assert duo_oracles.gain(table, ROUTES, 1) > 0.3
    halves = duo_oracles.transferred(table, ROUTES, 1)
    assert halves["own"] == pytest.approx(2, abs=0.05) and halves["fixed"] == pytest.approx(2, abs=0.05)
    rows = duo_oracles.growth(table, ROUTES, 1, 5, 0)
    assert [row["candidates"] for row in rows] == [1, 2, 3]
    # The mean of the least of n normal numbers: 0, -.564 and -.846 deviations.
    assert [row["cross_entropy"] for row in rows] == pytest.approx([2, 2 - 0.282, 2 - 0.423], abs=0.02)


def test_a_stretchs_own_route_is_found_on_its_first_half():
    table = np.full((8, 2, 4), 3, np.float32)
    table[1, 0], table[2, 1] = 1, 2  # the routes of one big layer
    assert duo_oracles.transferred(table, ROUTES, 1) == {"own": 1.5, "fixed": 2.0}
    table[1, 0, 2:] = 5
    assert duo_oracles.transferred(table, ROUTES, 1) == {"own": 3.5, "fixed": 4.0}


def test_the_layers_that_an_oracle_uses():
    table = np.full((8, 1, 4), 3, np.float32)
    # all_routes counts: 1 is the last layer alone, 4 the first; 3 both but the first.
    table[1, 0, :3], table[4, 0, 3], table[3] = 1, 1, 1
    rows = duo_oracles.layer_use(table, ROUTES)
    assert [row["share"] for row in rows if row["k"] == 1] == [0.25, 0, 0.75]
    assert [row["share"] for row in rows if row["k"] == 2] == [0, 1, 1]
    assert duo_oracles.mean_depth(rows, 1) == 0.75 and duo_oracles.mean_depth(rows, 2) == 0.75
    table[7, 0, 0] = 0.5
    assert duo_oracles.big_by_position(table, ROUTES).tolist() == [3, 1, 1, 2]  # the first of equals


def test_tokens_of_high_loss_that_gain_nothing():
    table = np.ones((8, 1, 8), np.float32)
    table[:, 0, :2] = 5
    table[6, 0, 0] = 1
    assert duo_oracles.difficulty(table, ROUTES)[0, 0] == 4 and duo_oracles.hopeless(table, ROUTES) == 0.5


def test_what_states_tell_is_foreseen_and_nothing_else():
    generator = np.random.default_rng(0)
    fitted, judged = generator.normal(size=(2, 20, 20, 3))
    assert duo_oracles.foreseen(fitted, fitted[..., 0] > 0, judged, judged[..., 0] > 0) > 0.95
    # What was fitted does not count: other windows decide.
    assert duo_oracles.foreseen(fitted, fitted[..., 0] > 0, judged, judged[..., 0] < 0) < 0.05
    chance = generator.random((2, 20, 20)) > 0.5
    assert duo_oracles.foreseen(fitted, chance[0], judged, chance[1]) == pytest.approx(0.5, abs=0.08)
    assert np.isnan(duo_oracles.foreseen(fitted, chance[0], judged, np.ones((20, 20), bool)))


def test_kinds_of_tokens():
    table = np.ones((8, 1, 8), np.float32)
    table[:, 0, 0] = 0.4  # easy
    table[:, 0, 1:3] = 5  # of high loss
    table[6, 0, 2] = 1
    table[5, 0, 3] = 0.85
    kinds = [duo_oracles.CATEGORIES[kind] for kind in duo_oracles.categories(table, ROUTES)[0]]
    assert kinds == ["easy", "hopeless", "responsive", "responsive", *["other"] * 4]


def test_the_best_at_each_cost_is_of_those_that_cost_no_more():
    table, cost = noise(60), np.array([0, 1, 1, 2, 1, 2, 2, 5.0])
    found = duo_oracles.by_cost(table, cost)
    assert [at for at, _ in found] == [0, 1, 2, 5]
    for at, values in found:
        rows = table[cost <= at].astype(float)
        assert values["fixed"] == pytest.approx(min(row.mean() for row in rows))
        assert values["oracle"] == pytest.approx(np.mean([rows[:, w, t].min() for w in range(6) for t in range(10)]))


def test_skips_are_counted_as_layers_are():
    routes = all_routes(2, skip=True).numpy()
    table = np.full((9, 1, 3), 3, np.float32)
    at = {tuple(route): number for number, route in enumerate(routes.tolist())}
    table[at[1, SKIP], 0, :2], table[at[0, 1], 0, 2] = 1, 1
    rows = duo_oracles.layer_use(table, routes, SKIP)
    assert [(row["k"], row["layer"]) for row in rows] == [(1, 0), (1, 1)]
    assert [row["share"] for row in rows] == [0, pytest.approx(2 / 3)]
    assert duo_oracles.budgets(routes).tolist() == [(route == 1).sum() for route in routes]
    # The cheapest route of a token is the best of those without a large layer.
    table[at[SKIP, 0], 0, 0] = 2
    assert duo_oracles.difficulty(table, routes)[0].tolist() == [1, 2, 2]
