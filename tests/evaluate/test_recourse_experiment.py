"""All ways to a recourse on one table, checked by computing their scores again."""

import numpy as np
import pytest

from tests.evaluate.bank import SETTINGS, compared
from winnow.evaluate.recourse_audit import audit
from winnow.evaluate.recourse_data import rows_of
from winnow.evaluate.robust_recourse import roar


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("curated"))


def value(comparison, *key):
    return {row[:3]: row[3] for row in comparison.results.metrics}[key]


def test_arms_share_queries_and_their_scores_can_be_computed_again(comparison):
    k = rows_of(0.08, 96)
    points = comparison.results.points["refit", 0.08]
    valid, _ = audit(points, comparison.model, comparison.refit, k, "influence")
    assert value(comparison, "refit", "b8", "validity_worst") == valid.mean() == 1
    cost = np.linalg.norm(points - comparison.queries, axis=1)
    assert value(comparison, "refit", "b8", "cost") == pytest.approx(cost.mean())
    plain = np.linalg.norm(comparison.results.points["plain", 0] - comparison.queries, axis=1)
    assert value(comparison, "refit", "b8", "cost_ratio") == pytest.approx((cost / plain).mean())
    assert value(comparison, "plain", "b8", "cost_ratio") == 1
    assert value(comparison, "wider", "b8", "cost") == pytest.approx(cost.mean())
    assert value(comparison, "strongest", "b8", "validity_greedy") == 1
    assert value(comparison, "strongest", "b8", "validity_worst") == 1
    assert value(comparison, "influence", "b8", "drop_ratio") > 1
    arms = {"plain", "wachter", "cchvae", "published", "query", "iterative", "newton", "refit", "strongest", "wider"}
    assert {system for system, *_ in comparison.results.metrics} >= arms | {"roar_0.05", "roar_0.3"}
    assert len({row["row_id"] for row in comparison.results.audits}) == len(comparison.queries)


def test_immutable_columns_stay_in_every_arm(comparison):
    for (arm, budget), points in comparison.results.points.items():
        known = np.isfinite(points).all(axis=1)
        assert np.allclose(points[known][:, 2:], comparison.queries[known][:, 2:], atol=1e-9), (arm, budget)


def test_roar_is_compared_at_the_cheapest_shift_that_holds_as_often(comparison):
    metrics = {row[:3]: row[3] for row in comparison.results.metrics}
    for budget in ("b3", "b8"):
        reached = metrics["roar_against_refit", budget, "reached"]
        valid = [metrics[f"roar_{d:g}", budget, "validity_worst"] for d in SETTINGS.roar_deltas]
        assert reached == float(max(valid) >= 0.95)
        if reached:
            first = next(d for d, v in zip(SETTINGS.roar_deltas, valid, strict=True) if v >= 0.95)
            delta = metrics["roar_against_refit", budget, "delta"]
            assert 0 < delta <= first and (first == SETTINGS.roar_deltas[0] or delta > SETTINGS.roar_deltas[0])
            points = np.stack(
                [
                    roar(x, comparison.model.theta, delta, immutable=comparison.data.immutable).point
                    for x in comparison.queries
                ]
            )
            assert (
                audit(points, comparison.model, comparison.refit, rows_of(float(budget[1:]) / 100, 96), "influence")[
                    0
                ].mean()
                >= 0.95
            )
