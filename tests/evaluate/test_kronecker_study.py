"""Networks have as many parameters and see equal data; errors and the degrees they ask for are counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.evaluate.kronecker_study import (
    Matcher,
    arms,
    ceiling,
    error_map,
    growth,
    matched,
    needed_degrees,
    threshold,
    work_and_time,
)
from winnow.randomness import torch_generator
from winnow.train.kronecker_attention import kronecker_attention, kronecker_attention_polynomial

SETTINGS = SimpleNamespace(
    numbers=4, modulus=5, width=16, heads=2, steps=150, batch_size=32, learning_rate=1e-2, seed=0
)  # fmt: skip


def test_networks_differ_by_one_percent_of_their_parameters_at_most():
    sizes = [sum(p.numel() for p in Matcher(arm, 31, 64, 4).parameters()) for arm in arms(64)]
    assert max(sizes) <= 1.01 * min(sizes)
    assert [arm.cost for arm in arms(64)] == [1, 1, 2, 1]
    assert [arm.pairs for arm in arms(64)] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("arm", [arms(16)[0], arms(16)[3]])
def test_networks_do_not_mind_the_order_of_numbers(arm):
    torch.manual_seed(0)
    model = Matcher(arm, 5, 16, 2)
    x, order = torch.tensor([[1, 4, 2, 0]]), torch.tensor([2, 0, 3, 1])
    assert torch.allclose(model(x)[:, order], model(x[:, order]), atol=1e-6)


def test_ordinary_attention_learns_pairs():
    steps = []
    values, history = matched(arms(16)[1], 2, SETTINGS, lambda done, of: steps.append(done))
    assert values["accuracy"] > values["majority"] + 0.1 and 0.5 <= values["majority"] < 1
    assert steps == list(range(1, 151)) and [row[2] for row in history] == list(range(18, 151, 18))
    again, _ = matched(arms(16)[1], 2, SimpleNamespace(**vars(SETTINGS) | {"steps": 1}), lambda done, of: None)
    assert again["majority"] == values["majority"]


@pytest.mark.parametrize("order", [3, 4])
def test_errors_of_the_map_are_those_of_the_fast_form(order):
    rows = list(error_map([0.5, 2.0], 15, 8, 2, order, 0))
    assert [(row["bound"], row["basis"], row["degree"]) for row in rows] == [
        (bound, basis, degree) for bound in (0.5, 2.0) for basis in ("taylor", "chebyshev") for degree in range(5)
    ]
    generator = torch_generator(0, "kronecker", "map", str(order))
    query, *rest = (2 * torch.rand(8, 2, generator=generator, dtype=torch.float64) - 1 for _ in range(2 * order - 1))
    keys, values = rest[: order - 1], rest[order - 1 :]
    for row in rows:
        given = (row["bound"] * query, [row["bound"] * key for key in keys], values)
        exact = kronecker_attention(*given)
        found, told = kronecker_attention_polynomial(*given, row["degree"], row["basis"])
        assert row["error"] == pytest.approx(float((found - exact).abs().max()), rel=1e-6, abs=1e-14)
        assert row["relative_error"] == pytest.approx(row["error"] / float(exact.abs().max()))
        assert (row["negative"], row["rank"]) == (told.negative, told.rank)


def test_errors_fall_with_the_degree_and_rise_with_the_bound_and_faster_at_a_higher_order():
    def errors(order, of):
        rows = error_map([0.5, 2.0], 15, 8, 2, order, 0)
        return {(row["bound"], row["degree"]): row[of] for row in rows if row["basis"] == "taylor"}

    found = errors(3, "error")
    assert found[0.5, 4] < found[0.5, 1] < found[2.0, 1] and found[0.5, 4] < found[2.0, 4]
    third, fourth = errors(3, "relative_error"), errors(4, "relative_error")
    assert fourth[2.0, 1] / fourth[0.5, 1] > third[2.0, 1] / third[0.5, 1]


def told(table):
    return [{"bound": b, "degree": d, "relative_error": e} for b, errors in table.items() for d, e in errors.items()]


def test_needed_degrees_must_hold_for_all_higher_ones():
    table = {1.0: {1: 0.5, 2: 0.01, 4: 0.0}, 2.0: {1: 0.01, 2: 0.5, 4: 0.01}, 3.0: {1: 9.0, 2: 9.0, 4: np.nan}}
    assert needed_degrees(told(table), 0.01) == {1.0: 2, 2.0: 4}


def test_degrees_grow_with_a_power_of_the_cube_of_bounds_from_one_on():
    def serving(degree):
        return {d: float(d < degree) for d in (1, 2, 4, 8, 16)}

    cubes = {2 ** (i / 3): serving(2**i) for i in (0, 1, 2, 3)}  # degrees 1, 2, 4, 8 at cubes 1, 2, 4, 8
    assert growth(told(cubes), 0.1) == pytest.approx(1)
    assert growth(told(cubes | {0.5: serving(16)}), 0.1) == pytest.approx(1)
    none = dict.fromkeys((1, 2, 4, 8, 16), 1.0)
    # The line says 32 where no degree up to 16 serves, which agrees; at 8 it says less than 17.
    assert growth(told(cubes | {2 ** (5 / 3): none}), 0.1) == pytest.approx(1)
    assert growth(told(cubes | {2.0: none, 2 ** (2.5 / 3): serving(4)}), 0.1) > 1.1
    assert np.isnan(growth(told({1.0: serving(1), 2.0: serving(8), 3.0: none}), 0.1))


def test_the_threshold_lies_where_the_logarithm_of_errors_crosses():
    table = {1.0: {4: 1e-4, 5: 1.0}, 2.0: {4: 1e-3, 5: 1.0}, 4.0: {4: 1e-1, 5: 1.0}}
    assert threshold(told(table), 4, 1e-2) == pytest.approx(2 * 2**0.5)
    assert threshold(told(table), 5, 1e-2) is None
    assert threshold(told(table), 4, 1.0) is None
    assert threshold(told(table), 6, 1.0) is None


def test_the_head_with_nothing_learned_is_always_right_and_judged_on_equal_sequences(monkeypatch):
    assert ceiling(SETTINGS) == {"accuracy": 1.0}
    wrong = "winnow.evaluate.kronecker_study.match_construction"
    monkeypatch.setattr(wrong, lambda numbers, modulus: torch.zeros(numbers.shape, dtype=torch.bool))
    values, _ = matched(arms(16)[1], 3, SimpleNamespace(**vars(SETTINGS) | {"steps": 1}), lambda done, of: None)
    assert values["majority"] == pytest.approx(max(ceiling(SETTINGS)["accuracy"], 1 - ceiling(SETTINGS)["accuracy"]))


def test_work_of_the_fast_form_is_linear_and_of_the_exact_one_cubic():
    settings = SimpleNamespace(seed=0, scaled=[16, 32, 64, 300], longest_exact=64, dimensions=2)
    ticks = iter(range(1000))
    rows = {(row["tokens"], row["method"]): row for row in work_and_time(settings, lambda: float(next(ticks)))}
    assert (300, "exact") not in rows and rows[300, "fast"]["error"] is None
    assert all(row["seconds"] == 1.0 for row in rows.values())
    work = {at: row["work"] for at, row in rows.items()}
    # Scores and values of all pairs of each query, two dimensions each, and one number each for exp, at least.
    assert work[64, "exact"] > (2 + 2) * 64**3 and 7 < work[64, "exact"] / work[32, "exact"] < 8.2
    assert work[300, "fast"] / work[16, "fast"] == pytest.approx(300 / 16, rel=0.1)
    assert rows[64, "exact"]["largest"] == 16 * 64 * 64 and rows[300, "fast"]["largest"] == 300 * 15
    assert 0 < rows[64, "fast"]["error"] < 1e-2 and rows[64, "exact"]["error"] == 0
