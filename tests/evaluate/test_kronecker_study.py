"""Networks have as many parameters and see equal data; errors and the degrees they ask for are counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.evaluate.kronecker_study import (
    Matcher,
    arms,
    error_map,
    growth,
    matched,
    needed_degrees,
    work_and_time,
)

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


def test_errors_fall_with_the_degree_and_rise_with_the_bound():
    rows = list(error_map([0.5, 2.0], [1, 4], 8, 2, 3, "taylor", 0))
    errors = {(row["bound"], row["degree"]): row["error"] for row in rows}
    assert errors[0.5, 4] < errors[0.5, 1] < errors[2.0, 1] and errors[0.5, 4] < errors[2.0, 4]
    assert [row["rank"] for row in rows] == [3, 15, 3, 15]
    higher = {(r["bound"], r["degree"]): r["error"] for r in error_map([0.5, 2.0], [1, 4], 8, 2, 4, "taylor", 0)}
    assert higher[0.5, 1] < errors[0.5, 1] and higher[2.0, 1] > errors[2.0, 1]


def test_needed_degrees_must_hold_for_all_higher_ones():
    table = {1.0: {1: 0.5, 2: 0.01, 4: 0.0}, 2.0: {1: 0.01, 2: 0.5, 4: 0.01}, 3.0: {1: 9.0, 2: 9.0, 4: 9.0}}
    rows = [{"bound": b, "degree": d, "error": e} for b, of in table.items() for d, e in of.items()]
    assert needed_degrees(rows, 0.01) == {1.0: 2, 2.0: 4}
    assert growth({1.0: 2, 2.0: 16, 4.0: 128}) == pytest.approx(1)
    assert np.isnan(growth({1.0: 2}))


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
