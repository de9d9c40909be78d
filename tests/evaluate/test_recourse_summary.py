"""What a comparison of recourses found, for a table of credit."""

import pyarrow as pa
import pytest

from tests.evaluate.bank import SETTINGS, compared
from winnow.errors import InputError
from winnow.evaluate import recourse_charts
from winnow.evaluate.recourse_experiment import Results
from winnow.evaluate.recourse_summary import point_rows, verdict
from winnow.pipeline.tables import metric_rows


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("curated"))


def test_the_verdict_is_read_off_the_metrics(comparison):
    found = verdict(comparison.results, SETTINGS.budgets)
    assert found["refit_holds_at_budget"] is True
    needed = ("published_holds_with_slack", "refit_cheaper_than_roar", "published_cheaper_than_roar")
    assert found["holds"] == all(found[name] for name in needed)


def test_changes_are_told_in_the_units_of_the_table(comparison):
    rows = point_rows(comparison, queries=2)
    data = comparison.data
    one = next(r for r in rows if r["arm"] == "plain" and r["feature"] == "income")
    place = list(comparison.query_ids).index(one["row_id"])
    moved = comparison.results.points["plain", 0][place, 0]
    assert one["after"] == pytest.approx(moved * data.deviation[0] + data.mean[0])
    assert one["after"] - one["before"] == pytest.approx(one["change"] * data.deviation[0])


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


@pytest.mark.parametrize(
    ("key", "low", "part"),
    [
        (("refit", "b8", "validity_worst"), 0.949, "refit_holds_at_budget"),
        (("published", "b3", "validity_with_slack"), 0.949, "published_holds_with_slack"),
        (("refit", "b3", "wilcoxon_p_cheaper_than_roar"), 0.01, "refit_cheaper_than_roar"),
        (("published", "b8", "wilcoxon_p_cheaper_than_roar"), 0.01, "published_cheaper_than_roar"),
        (("published", "b8", "validity_worst"), 0.949, "published_holds_at_budget"),
    ],
)
def test_one_budget_that_fails_a_part_fails_it_and_only_the_exact_budget_may_fail(key, low, part):
    names = [(a, m) for a in ("refit", "published") for m in ("validity_worst", "validity_with_slack")]
    held = {(a, b, m): 0.95 for a, m in names for b in ("b3", "b8")}
    held |= {(a, b, "wilcoxon_p_cheaper_than_roar"): 0.009 for a in ("refit", "published") for b in ("b3", "b8")}
    assert all(verdict(Results([(*k, v) for k, v in held.items()]), SETTINGS.budgets).values())
    found = verdict(Results([(*k, v) for k, v in (held | {key: low}).items()]), SETTINGS.budgets)
    assert [name for name, value in found.items() if name != "holds" and not value] == [part]
    assert found["holds"] is (part == "published_holds_at_budget")
    without = {k: v for k, v in held.items() if k[0] != "refit"}
    assert verdict(Results([(*k, v) for k, v in without.items()]), SETTINGS.budgets)["holds"] is False
