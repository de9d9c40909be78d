"""The audit tries every set, finds planted violations, and confirms them on windows apart."""

from itertools import combinations

import numpy as np
import pytest
import torch

from winnow.compress.evopress_database import depth_database
from winnow.evaluate.evopress_audit import audit_summary, confirmed, monotonicity_audit, violations
from winnow.models import build

ERRORS = {(0,): 1.0, (1,): 2.0, (2,): 4.0, (0, 1): 2.5, (0, 2): 3.0, (1, 2): 7.0, (0, 1, 2): 6.5}


class Units:
    names = ("a", "b", "c")


def audit(most=3):
    def fitness(state, drawn):
        assert drawn.tolist() == [0, 1]
        return ERRORS[tuple(np.flatnonzero(state))]

    return monotonicity_audit(Units, fitness, 2, most)


def test_every_set_is_tried_with_the_sum_of_its_units():
    rows = audit()
    assert {tuple(row["dropped"]): row["error"] for row in rows} == ERRORS
    assert {tuple(row["dropped"]): row["sum_of_errors"] for row in rows}[0, 1, 2] == 7
    assert len(audit(2)) == 6


def test_violations_are_supersets_with_a_lower_error_the_largest_gain_first():
    assert violations(audit()) == [
        {"fewer": [2], "more": [0, 2], "gain": 1.0},
        {"fewer": [1, 2], "more": [0, 1, 2], "gain": 0.5},
    ]


def test_the_summary_ranks_sums_against_errors():
    rows = audit()
    for row, total in zip(rows[3:6], (3, 5, 4), strict=True):
        row["sum_of_errors"] = total
    summary = audit_summary(rows, [])
    # sums 3, 5, 4 for errors 2.5, 3, 7: one of three pairs is in the wrong order
    assert summary["inversions_2"] == pytest.approx(1 / 3) and summary["spearman_2"] == pytest.approx(0.5)
    assert summary["additive_excess_2"] == 1 and summary["violations"] == 2 and summary["confirmed"] == 0
    assert "gain" not in summary
    rows[3]["sum_of_errors"] = 9
    assert audit_summary(rows, [])["additive_excess_2"] == pytest.approx(7 / 2.5)
    checked = [{"low": 0.1}, {"low": -0.1}, {"low": 0.3}]
    assert audit_summary(rows, checked)["confirmed"] == 2 and audit_summary(rows, checked)["gain"] == 0.3


def test_violations_are_judged_by_the_losses_of_other_windows():
    model = build("transformer", vocabulary=30, width=16, layers=3, heads=2, seed=0).eval()
    x = torch.randint(0, 30, (20, 6), generator=torch.Generator().manual_seed(1))
    y = x.roll(-1, 1)
    database = depth_database(model, whole_blocks=True)
    found = [{"fewer": list(f), "more": [0, 1, 2], "gain": 0.1} for f in combinations(range(3), 2)] * 2
    rows = confirmed(found, model, database, x, y)
    assert len(rows) == 3
    with torch.no_grad():
        nothing = model.norm(model.embedding(x)) @ model.embedding.weight.T
        last = model.blocks[2](model.embedding(x))
        one = model.norm(last) @ model.embedding.weight.T
    losses = [torch.nn.functional.cross_entropy(z.flatten(0, 1), y.flatten()) for z in (one, nothing)]
    assert rows[0]["judged"] == pytest.approx(float(losses[0] - losses[1]), abs=1e-5)
    assert rows[0]["low"] <= rows[0]["judged"] <= rows[0]["high"] and rows[0]["gain"] == 0.1
