from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from winnow.evaluate.interaction_planted import (
    counted_right,
    found_modules,
    planted_counts,
    planted_modules,
    planted_spectra,
)
from winnow.evaluate.planted_degeneracy import KINDS


def test_every_kind_is_counted_layer_by_layer():
    rows = planted_counts(1, 4)
    assert [row["kind"] for row in rows] == [kind for kind in KINDS for _ in range(3)]
    assert {row["layer"] for row in rows} == {"0", "2", "4"} and {row["case"] for row in rows} == {0}
    for row in rows:
        own = row["inputs"] * row["outputs"] - row["rank_activations"] * row["rank_jacobian"] + row["mixing"]
        assert row["predicted_null"] == own
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        assert sum(row["predicted_null"] for row in mine) == mine[0]["network_predicted"]
    assert counted_right(rows) == {"counts_right": 1.0, "cases": float(len(KINDS))}


def test_cases_are_other_networks():
    first, second = planted_counts(2, 0), planted_counts(1, 1)
    assert [row["kind"] for row in first if row["case"] == 1] == [row["kind"] for row in second]
    assert len(first) == 2 * 3 * len(KINDS)


@pytest.mark.parametrize("field", ["network_counted", "hessian_null"])
def test_a_network_counts_as_right_where_all_three_agree(field):
    row = {"kind": "a", "case": 0, "network_predicted": 5, "network_counted": 5, "hessian_null": 5}
    wrong = row | {"case": 1, field: 6}
    assert counted_right([row, row, wrong]) == {"counts_right": 0.5, "cases": 2.0}


def test_modules_that_no_neuron_shows_are_found_in_the_interaction_basis():
    assert found_modules("ib", 2, 3, 0) == 1
    assert found_modules("neuron", 2, 3, 0) < 1


@pytest.mark.parametrize("draw", [0, 2, 4])  # with outputs of little variance, of which nothing may be lost
def test_quiet_outputs_belong_to_their_module(draw):
    assert found_modules("ib", 3, 4, draw) == 1


def test_an_output_without_edges_is_no_one_elses(monkeypatch):
    from winnow.evaluate import interaction_planted as planted

    lost = [np.full(4, -1), np.array([0, 0, -1, 1])]
    monkeypatch.setattr(planted, "modular_graph", lambda *_: ({}, lost, 0.1))
    # By hand: the third output alone, beside its true partner.
    assert found_modules("ib", 2, 2, 0) == pytest.approx(adjusted_rand_score([0, 0, 1, 1], [0, 0, 2, 1]))


def test_measures_are_means_over_cases():
    settings = SimpleNamespace(cases=2, modules=2, module_width=2)
    found = planted_modules(settings, 3)
    assert set(found) == {f"modules-{kind}" for kind in ("ib", "pca", "neuron", "random")}
    own = [found_modules("random", 2, 2, draw) for draw in (6, 7)]
    assert found["modules-random"]["adjusted_rand"] == pytest.approx(sum(own) / 2)


def test_spectra_fall_and_break_where_predicted():
    rows = planted_spectra(0)
    for what in ("planted: plain", "planted: everything"):
        mine = [row for row in rows if row["what"] == what]
        values = [row["value"] for row in mine]
        assert values[0] == 1 and values == sorted(values, reverse=True)
        assert [row["above"] for row in mine] == [float(i + 1) for i in range(len(mine))]
        known = mine[0]["predicted"]
        assert values[known - 1] > 1e-12 > 1e-13 > values[known] or values[known - 1] / values[known] > 100
    sizes = {row["what"]: row["predicted"] for row in rows}
    assert sizes["planted: everything"] < sizes["planted: plain"] and rows[0]["seed"] == 0
