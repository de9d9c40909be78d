"""The comparison of recourses: one set of queries for all arms, numbers that can be computed again, pictures."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from winnow.curate.tables import curate_table
from winnow.errors import InputError
from winnow.evaluate import recourse_charts
from winnow.evaluate.recourse_audit import audit
from winnow.evaluate.recourse_experiment import (
    Comparison,
    budget_name,
    network_metrics,
    point_rows,
    recourse_data,
    rows_of,
    verdict,
)
from winnow.evaluate.robust_recourse import roar
from winnow.pipeline.tables import metric_rows, write_parquet
from winnow.workloads import load_workload
from winnow.workloads.table_columns import raw_table

SETTINGS = SimpleNamespace(
    ridge=0.05,
    queries=4,
    budgets=[0.03, 0.08],
    margin=1e-3,
    refit_margin=1e-2,
    roar_deltas=[0.05, 0.3],
    network_queries=2,
    network_budgets=[0.05],
)


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("curated")
    generator = np.random.default_rng(0)
    income, debt = generator.normal(30, 5, 120), generator.normal(10, 3, 120)
    town = generator.choice(["Bonn", "Kiel"], 120)
    good = income - debt + generator.normal(0, 4, 120) > 20
    columns = {"income": income, "debt": debt, "town": town.tolist(), "credit": np.where(good, "good", "bad").tolist()}
    curated = curate_table(raw_table(pa.table(columns), source="s", target="credit"), workload="bank")
    for split, table in curated.tables.items():
        write_parquet(table, folder / f"{split}.parquet", metadata=curated.metadata)
    return load_workload(folder)


@pytest.fixture(scope="module")
def comparison(workload):
    found = Comparison(recourse_data(workload, "good", 0, immutable=["town"]), SETTINGS, 0)
    found.run()
    return found


def value(comparison, *key):
    return {row[:3]: row[3] for row in comparison.results.metrics}[key]


def test_data_are_standardised_by_their_own_training_rows_and_split_anew_for_each_seed(workload):
    data, other = recourse_data(workload, "good", 0, ["town"]), recourse_data(workload, "good", 1)
    assert data.names == ["income", "debt", "town is Bonn", "town is Kiel"]
    assert len(data.x) == 96 and len(data.test) == 24 and data.immutable.tolist() == [False, False, True, True]
    assert np.allclose(data.x.mean(axis=0), 0, atol=1e-9) and np.allclose(data.x.std(axis=0), 1, atol=1e-9)
    assert set(data.test_ids) != set(other.test_ids) and not other.immutable.any()
    table = pa.concat_tables([workload.table(s) for s in ("train", "valid", "test")])
    income = dict(zip(table["row_id"].to_pylist(), table["income"].to_pylist(), strict=True))
    back = data.test[:, 0] * data.deviation[0] + data.mean[0]
    assert np.allclose(back, [income[i] for i in data.test_ids], atol=1e-4)
    bad = recourse_data(workload, "bad", 0)
    assert np.array_equal(bad.y, 1 - data.y) and len(recourse_data(workload, "good", 0, limit=50).x) == 40


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


def test_the_verdict_is_read_off_the_metrics(comparison):
    found = verdict(comparison.results, SETTINGS.budgets)
    assert found["refit_holds_at_budget"] is True
    needed = ("published_holds_with_slack", "refit_cheaper_than_roar", "published_cheaper_than_roar")
    assert found["holds"] == all(found[name] for name in needed)


def test_budgets_are_named_and_counted():
    assert [budget_name(b) for b in (0.005, 0.01, 0.05)] == ["b0.5", "b1", "b5"]
    assert [rows_of(b, 354) for b in (0.001, 0.01, 0.05)] == [1, 4, 18]


def test_changes_are_told_in_the_units_of_the_table(comparison):
    rows = point_rows(comparison, queries=2)
    data = comparison.data
    one = next(r for r in rows if r["arm"] == "plain" and r["feature"] == "income")
    place = list(comparison.query_ids).index(one["row_id"])
    moved = comparison.results.points["plain", 0][place, 0]
    assert one["after"] == pytest.approx(moved * data.deviation[0] + data.mean[0])
    assert one["after"] - one["before"] == pytest.approx(one["change"] * data.deviation[0])


def test_networks_answer_the_same_question(comparison):
    rows = {row[:3]: row[3] for row in network_metrics(comparison.data, SETTINGS, 0)}
    assert rows["network_plain", "b5", "cost_ratio"] == 1
    for arm in ("network_linearised", "network_linearised_rounds", "network_surrogate", "network_roar"):
        assert 0 <= rows[arm, "b5", "validity_worst"] <= 1
    assert rows["network_linearised", "b5", "cost_ratio"] > 1


def test_the_pictures_can_be_drawn(comparison):
    labels = {"workload": "bank", "seed": 0, "split": "test"}
    metrics = pa.concat_tables(
        [metric_rows({m: v}, system=s, variant=b, **labels) for s, b, m, v in comparison.results.metrics]
    )
    charts = [
        recourse_charts.validity(metrics),
        recourse_charts.front(metrics),
        recourse_charts.influence_error(pa.Table.from_pylist(comparison.results.influence_error)),
        recourse_charts.changes(pa.Table.from_pylist(point_rows(comparison))),
    ]
    text = [chart.to_json() for chart in charts]
    assert all("as published" in t for t in (text[0], text[1], text[3])) and "diagonal" not in text[2]
    with pytest.raises(InputError):
        recourse_charts.validity(metrics.slice(0, 0))


def test_what_the_table_does_not_have_is_named(workload):
    with pytest.raises(InputError, match="favourable is 'fine'; it must be one of bad, good"):
        recourse_data(workload, "fine", 0)
    with pytest.raises(InputError, match="immutable names 'age'; the columns are income, debt, town"):
        recourse_data(workload, "good", 0, ["age"])
