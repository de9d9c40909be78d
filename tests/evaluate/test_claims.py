from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats

from tests.evaluate.judging import BOTH, GAINS, OURS, PAPER, THEIRS, claim, judge, one, rows, three_points
from winnow.errors import InputError
from winnow.evaluate.claims import CLAIMS_SCHEMA, VERDICTS, evaluate_claims
from winnow.evaluate.claims_schema import Claim, load_claims
from winnow.pipeline.tables import METRICS_SCHEMA

ROOT = Path(__file__).parents[2]


def test_a_comparison_is_the_paired_t_interval_of_the_differences():
    row = one(claim(), *BOTH)
    theirs = stats.ttest_rel(OURS, THEIRS, alternative="two-sided").confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((theirs.low, theirs.high))
    assert row["effect"] == pytest.approx(GAINS.mean())
    assert row["p_value"] == pytest.approx(stats.ttest_rel(OURS, THEIRS, alternative="greater").pvalue)
    assert (row["n"], row["unit"], row["verdict"], row["point"]) == (5, "share", "holds", None)
    assert (row["smallest"], row["largest"], row["test"], row["note"]) == (0.0, None, "paired_t", "")
    assert row["paper"] == "A: T. V, 2020"
    assert (row["left"], row["right"], row["statement"]) == ("ours", "theirs", "Ours is better.")


@pytest.mark.parametrize(
    ("test", "low", "high"),
    [
        # Of 5^5 resamples, the mean at the 2.5 % and 97.5 % quantiles, from scipy's quantile of all of them.
        ("bootstrap", None, None),
        ("sign", GAINS.min(), GAINS.max()),
        ("exact", GAINS.min(), GAINS.max()),
    ],
)
def test_the_other_tests_give_their_intervals(test, low, high):
    if test == "bootstrap":
        grid = np.stack(np.meshgrid(*[GAINS] * 5), -1).reshape(-1, 5).mean(axis=1)
        low, high = np.quantile(grid, [0.025, 0.975], method="inverted_cdf")
    row = one(claim(test), *BOTH)
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["effect"] == pytest.approx(np.median(GAINS) if test == "sign" else GAINS.mean())
    assert row["p_value"] == {"bootstrap": 0.0, "sign": 1 / 32, "exact": None}[test]
    assert row["verdict"] == "holds"


@pytest.mark.parametrize(("effect", "verdict"), [(0.0, "holds"), (0.0099, "holds"), (0.0101, "does not hold")])
def test_the_interval_must_lie_above_the_smallest_effect(effect, verdict):
    assert one(claim("exact", effect), *BOTH)["verdict"] == verdict


def test_no_difference_at_all_is_not_a_gain():
    for test in ("bootstrap", "paired_t", "sign", "exact"):
        assert one(claim(test), rows("ours", OURS), rows("theirs", OURS))["verdict"] == "does not hold"
        assert one(claim(test, effect=-0.001), rows("ours", OURS), rows("theirs", OURS))["verdict"] == "holds"


@pytest.mark.parametrize(("direction", "sign"), [("higher", 1), ("lower", -1)])
def test_a_ratio_is_a_geometric_mean_with_its_interval_from_logarithms(direction, sign):
    logs = sign * (np.log(OURS) - np.log(THEIRS))
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    row = one(claim(effect=0.5, measure={"compare": "ratio", "direction": direction}), *BOTH)
    assert row["effect"] == pytest.approx(stats.gmean(np.exp(logs)))
    assert (row["low"], row["high"]) == pytest.approx((np.exp(interval.low), np.exp(interval.high)))
    assert row["unit"] == "ratio" and row["verdict"] == "holds"
    too_much = claim(effect=1.1, measure={"compare": "ratio", "direction": direction})
    assert one(too_much, *BOTH)["verdict"] == "does not hold"
    expected = stats.ttest_1samp(logs, np.log(0.5), alternative="greater").pvalue
    assert row["p_value"] == pytest.approx(expected)


@pytest.mark.parametrize("test", ["bootstrap", "paired_t"])
@pytest.mark.parametrize(("margin", "verdict"), [(0.06, "holds"), (0.02, "does not hold")])
def test_equivalence_holds_where_the_90_percent_interval_lies_inside_the_bounds(test, margin, verdict):
    row = one(claim(test, within=(-margin, margin)), *BOTH)
    assert row["verdict"] == verdict == ("holds" if row["p_value"] <= 0.05 else "does not hold")
    assert (row["smallest"], row["largest"]) == (-margin, margin)
    if test == "paired_t":
        expected = stats.ttest_rel(OURS, THEIRS).confidence_interval(0.9)
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
        sides = [
            stats.ttest_1samp(GAINS, -margin, alternative="greater").pvalue,
            stats.ttest_1samp(GAINS, margin, alternative="less").pvalue,
        ]
        assert row["p_value"] == pytest.approx(max(sides))


def test_bounds_of_zero_ask_for_exact_equality():
    entry = claim("exact", within=(0, 0), minimum_pairs=1)
    assert one(entry, rows("ours", [2.0, 3.0]), rows("theirs", [2.0, 3.0]))["verdict"] == "holds"
    assert one(entry, rows("ours", [2.0, 3.0]), rows("theirs", [2.0, 3.5]))["verdict"] == "does not hold"
    assert one(entry, rows("ours", [2.0, 3.5]), rows("theirs", [2.0, 3.0]))["verdict"] == "does not hold"


def test_a_ratio_can_be_bounded_on_both_sides():
    entry = claim(within=(0.8, 1.25), measure={"compare": "ratio"})
    assert one(entry, *BOTH)["verdict"] == "holds"


@pytest.mark.parametrize(
    ("gains", "require", "verdict"),
    [
        ((0.1, 0.1, 0.1), "all", "holds"),
        ((0.1, -0.1, 0.1), "all", "partly"),
        ((-0.1, -0.1, 0.1), "all", "partly"),
        ((-0.1, -0.1, -0.1), "all", "does not hold"),
        ((0.1, -0.1, 0.1), 2, "holds"),
        ((0.1, -0.1, -0.1), 2, "partly"),
        ((0.1, None, 0.1), "all", "not run"),
        ((0.1, None, 0.1), 2, "holds"),
        ((0.1, None, -0.1), 2, "not run"),
        ((-0.1, None, -0.1), 1, "not run"),
    ],
)
def test_the_verdict_over_points(gains, require, verdict):
    measure, tables = three_points(*gains)
    overall, *points = judge(claim("exact", measure=measure, require=require), *tables)
    assert overall["verdict"] == verdict
    expected = {0.1: "holds", -0.1: "does not hold", None: "not run"}
    assert [p["verdict"] for p in points] == [expected[g] for g in gains]
    assert [p["point"] for p in points] == ["p0", "p1", "p2"] and overall["point"] is None
    holding = sum(g == 0.1 for g in gains)
    assert overall["note"].startswith(f"{holding} of 3 comparisons hold")
    assert (overall["effect"] is None) == (verdict == "not run")


def test_the_overall_row_shows_the_weakest_point():
    measure, tables = three_points(0.3, 0.1, 0.2)
    overall = judge(claim("exact", measure=measure), *tables)[0]
    assert overall["effect"] == pytest.approx(0.1) and overall["left"] == "ours v1"
    shifted = judge(claim("exact", within=(0.0, 0.31), measure=measure), *tables)[0]
    assert shifted["effect"] == pytest.approx(0.3)


def test_where_some_points_suffice_the_overall_row_shows_the_one_that_decides():
    measure, tables = three_points(0.3, -0.1, 0.2)
    for require, effect in [(1, 0.3), (2, 0.2), (3, -0.1)]:
        overall = judge(claim("exact", measure=measure, require=require), *tables)[0]
        assert overall["effect"] == pytest.approx(effect)


def test_holm_can_undo_a_comparison_but_leaves_its_interval():
    # Alone p is about .013; the smallest of three must be below .0083.
    values = np.array([0.1, 0.02, 0.08, 0.05])
    measure = {"points": {name: {"variant": name} for name in "abc"}}
    tables = [rows("ours", values if v == "a" else -values, variant=v) for v in "abc"]
    tables += [rows("theirs", 0 * values, variant=v) for v in "abc"]
    plain = judge(claim(measure=measure, require=1), *tables)
    strict = judge(claim(measure=measure, require=1, correction="holm"), *tables)
    assert [r["verdict"] for r in plain] == ["holds", "holds", "does not hold", "does not hold"]
    assert [r["verdict"] for r in strict] == ["does not hold"] * 4
    assert strict[1]["p_value"] == pytest.approx(3 * plain[1]["p_value"])
    assert strict[1]["low"] == plain[1]["low"]


def test_holm_leaves_what_is_strong_enough_for_all_of_them():
    tables = [
        rows("ours", np.array([0.5, 0.51, 0.52, 0.49]) * sign, variant=v) for v, sign in zip("ab", (1, -1), strict=True)
    ]
    tables += [rows("theirs", [0.0] * 4, variant=v) for v in "ab"]
    measure = {"points": {name: {"variant": name} for name in "ab"}}
    found = judge(claim(measure=measure, require=1, correction="holm"), *tables)
    assert [r["verdict"] for r in found] == ["holds", "holds", "does not hold"]
    assert found[1]["p_value"] < 0.001 and found[2]["p_value"] > 0.999


@pytest.mark.parametrize(("confidence", "verdict"), [(1 - 2 / 32, "holds"), (1 - 2 / 32 + 1e-9, "does not hold")])
def test_holm_holds_a_p_value_against_the_level_itself(confidence, verdict):
    # Five signs alike: p is 1/32, of two comparisons 2/32.
    tables = [rows(s, [v] * 5, variant=x) for s, v in (("ours", 1.0), ("theirs", 0.0)) for x in "ab"]
    measure = {"points": {name: {"variant": name} for name in "ab"}}
    found = judge(claim("sign", confidence=confidence, correction="holm", measure=measure), *tables)
    assert [r["verdict"] for r in found] == [verdict] * 3 and found[1]["p_value"] == 2 / 32


def test_a_point_with_too_few_pairs_keeps_a_claim_from_holding():
    measure = {"points": {name: {"variant": name} for name in "abc"}}
    tables = [
        rows(s, [v] * n, variant=x)
        for s, v in (("ours", 1.0), ("theirs", 0.0))
        for x, n in zip("abc", (5, 3, 2), strict=True)
    ]
    overall, *points = judge(claim("exact", minimum_pairs=4, measure=measure), *tables)
    assert [p["verdict"] for p in points] == ["holds", "not run", "not run"] and overall["verdict"] == "not run"
    assert overall["n"] == 2  # of the point that has fewest
    assert (overall["left"], overall["right"]) == (points[0]["left"], points[0]["right"]) == ("ours a", "theirs")


def test_the_overall_row_of_points_that_differ_in_kind_names_the_sides_of_the_first():
    measure = {"points": {"one": {}, "two": {"left": {"system": "x"}, "right": {"system": "y"}}}}
    overall = judge(claim(measure=measure), METRICS_SCHEMA.empty_table())[0]
    assert (overall["left"], overall["right"]) == ("ours", "theirs")


def test_an_unbounded_interval_is_weaker_than_any_other():
    measure = {"points": {name: {"variant": name} for name in "ab"}}
    tables = [
        rows(s, [v] * n, variant=x)
        for s, v in (("ours", 0.5), ("theirs", 0.0))
        for x, n in zip("ab", (5, 2), strict=True)
    ]
    overall, first, second = judge(claim("sign", measure=measure), *tables)
    assert (first["low"], second["low"]) == (0.5, None) and overall["n"] == second["n"] == 2


def test_of_two_equivalences_the_one_nearer_to_its_bound_is_the_weaker():
    measure, tables = three_points(0.25, -0.2)
    # 0.25 is 0.06 below the upper bound, -0.2 is 0.1 above the lower one.
    overall = judge(claim("exact", within=(-0.3, 0.31), measure=measure), *tables)[0]
    assert overall["effect"] == pytest.approx(0.25)
    overall = judge(claim("exact", within=(-0.21, 0.4), measure=measure), *tables)[0]
    assert overall["effect"] == pytest.approx(-0.2)


def test_fewer_pairs_than_needed_are_not_judged():
    row = one(claim(minimum_pairs=6), *BOTH)
    assert row["verdict"] == "not run" and row["note"] == "5 of the 6 pairs needed" and row["n"] == 5
    assert row["effect"] is None
    assert one(claim(minimum_pairs=5), *BOTH)["verdict"] == "holds"


def test_the_overall_note_names_the_first_reason_and_how_many_others_there_are():
    measure, tables = three_points(None, 0.1, None)
    overall = judge(claim("exact", measure=measure), *tables)[0]
    first = "no rows with system ours, metric accuracy, variant v0"
    assert overall["note"] == f"1 of 3 comparisons hold; {first}; and 1 more"
    alike = judge(claim("exact", minimum_pairs=9, measure={"points": {"a": {}, "b": {}}}), *BOTH)[0]
    assert alike["note"] == "5 of the 9 pairs needed" and alike["n"] == 5


@pytest.mark.parametrize(
    ("effect", "control", "told"),
    [(0.0, 0.0, ""), (0.0, 0.5, "its control guard does not hold"), (0.5, 0.5, "its control guard does not hold")],
)
def test_what_a_control_guards_says_where_the_control_does_not_hold(effect, control, told):
    guarded, other = claim(effect=effect, id="main"), claim(id="other")
    guard = claim(effect=control, id="guard", covers=["main"])
    for order in ([guarded, guard, other], [guard, other, guarded]):
        found = {row["claim"]: row for row in evaluate_claims(order, pa.concat_tables(BOTH)).to_pylist()}
        assert [row["claim"] for row in evaluate_claims(order, pa.concat_tables(BOTH)).to_pylist()] == [
            entry.id for entry in order
        ]
        assert found["main"]["verdict"] == one(guarded, *BOTH)["verdict"]  # the control changes no verdict
        assert (found["main"]["note"], found["other"]["note"], found["guard"]["note"]) == (told, "", "")


def test_the_note_of_a_guarded_claim_keeps_what_it_said_and_its_points_stay_as_they_are():
    entry, tables = three_points(0.1, 0.1, -0.1)
    guarded = claim(id="main", measure=entry)
    guards = [
        claim(id="one", measure=entry, covers=["main"]),
        claim(id="two", effect=9, measure=entry, covers=["main"]),
    ]
    rows = evaluate_claims([guarded, *guards], pa.concat_tables(tables)).to_pylist()
    assert rows[0]["note"] == ("2 of 3 comparisons hold; its control one holds partly; its control two does not hold")
    assert [row["note"] for row in rows[1:4]] == ["", "", ""]
    absent = claim(id="three", measure={"left": {"system": "nobody"}}, covers=["main"])
    assert "control" not in evaluate_claims([guarded, absent], pa.concat_tables(tables)).to_pylist()[0]["note"]


def test_an_empty_table_runs_nothing():
    row = one(claim(), METRICS_SCHEMA.empty_table())
    assert row["verdict"] == "not run" and row["n"] == 0 and row["effect"] is None
    assert evaluate_claims([], METRICS_SCHEMA.empty_table()).schema == CLAIMS_SCHEMA


def test_points_where_the_condition_never_occurs_are_left_out():
    where = {"side": "right", "metric": "collapse", "equals": 1}
    measure, tables = three_points(0.1, -0.1)
    flags = [rows("theirs", [1.0 - i] * 5, metric="collapse", variant=f"v{i}") for i in range(2)]
    overall, met, unmet = judge(claim("exact", measure=measure | {"where": where}), *tables, *flags)
    assert overall["verdict"] == met["verdict"] == "holds" and overall["note"] == "1 of 1 comparisons hold"
    assert unmet["verdict"] == "not run" and "never occurs" in unmet["note"]
    never = [rows("theirs", [0.0] * 5, metric="collapse", variant=f"v{i}") for i in range(2)]
    overall = judge(claim("exact", measure=measure | {"where": where}), *tables, *never)[0]
    assert overall["verdict"] == "not run" and overall["note"].startswith("collapse = 1 never occurs")


def test_where_the_condition_is_not_met_nothing_need_have_been_measured():
    where = {"side": "left", "metric": "learnt", "equals": 1}
    measure, tables = three_points(0.1, 0.1)
    learnt = [rows("ours", [1.0 - i] * 5, metric="learnt", variant=f"v{i}") for i in range(2)]
    # The second point has its condition, which is not met, and no row of what is compared.
    kept = [table.filter(pc.not_equal(table["variant"], "v1")) for table in tables]
    overall, met, unmet = judge(claim("exact", measure=measure | {"where": where}), *kept, *learnt)
    assert overall["verdict"] == met["verdict"] == "holds" and overall["note"] == "1 of 1 comparisons hold"
    assert unmet["verdict"] == "not run" and unmet["note"].startswith("learnt = 1 never occurs")


def test_what_needs_people_is_not_checked_and_a_larger_scale_not_run():
    people = Claim(id="p", system="s", paper=PAPER, statement="People like it.", needs="people")
    row = one(people, *BOTH, scale="smoke")
    assert row["verdict"] == "not checked: needs people" and row["test"] is None
    for scale, verdict in [("smoke", "not run"), ("laptop", "holds"), ("paper", "holds"), (None, "holds")]:
        assert one(claim(), *BOTH, scale=scale)["verdict"] == verdict
    row = one(claim(scale="paper"), *BOTH, scale="laptop")
    assert row["verdict"] == "not run" and row["note"] == "judged from scale paper on; this run is laptop"
    assert {"not run", "not checked: needs people"} < set(VERDICTS)


def test_an_unbounded_sign_interval_is_null_and_does_not_hold():
    row = one(claim("sign"), rows("ours", [1.0, 1.0]), rows("theirs", [0.0, 0.0]))
    assert (row["low"], row["high"], row["verdict"]) == (None, None, "does not hold")
    ratio = one(
        claim("sign", measure={"compare": "ratio"}, effect=0.5),
        rows("ours", [2.0] * 2),
        rows("theirs", [1.0] * 2),
    )
    assert (ratio["low"], ratio["high"], ratio["verdict"]) == (None, None, "does not hold")


def test_results_do_not_depend_on_the_order_of_rows_and_follow_the_seed_only_beyond_nine_pairs():
    many = rows("ours", np.linspace(0, 1, 12)), rows("theirs", np.linspace(0, 0.5, 12) ** 2)
    whole = pa.concat_tables([*BOTH, *(rows("ours", [1.0], "l0"),)])
    turned = whole.take(pa.array(np.random.default_rng(0).permutation(whole.num_rows)))
    assert one(claim("bootstrap"), whole) == one(claim("bootstrap"), turned)
    assert one(claim("bootstrap"), *BOTH, seed=1) == one(claim("bootstrap"), *BOTH, seed=2)
    first, again, other = (one(claim("bootstrap"), *many, seed=s) for s in (1, 1, 2))
    assert first == again and first["low"] != other["low"]
    assert one(claim("bootstrap"), *many) == one(claim("bootstrap"), *many, seed=0)


def test_a_table_of_another_schema_is_refused():
    with pytest.raises(InputError, match="metrics: no column 'system'"):
        evaluate_claims([claim()], pa.table({"x": [1]}))


def test_the_ledger_loads_and_judges_an_empty_run():
    claims = load_claims(ROOT / "claims.yaml")
    found = evaluate_claims(claims, METRICS_SCHEMA.empty_table()).to_pylist()
    assert {r["claim"] for r in found if r["point"] is None} == {c.id for c in claims}
    assert {r["verdict"] for r in found} <= {"not run", "not checked: needs people"}


def test_the_ledgers_conditions_find_collapse():
    """Rows as the pruning sweep writes them, in which all seeds collapse but the last."""
    name, flags = "depthwise_extreme-s97", [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    tables = [
        rows("global_magnitude", flags, "collapse", name),
        rows("global_magnitude_mt", [0.0] * 6, "collapse", name),
        rows("global_magnitude", [0.5 - 0.4 * f for f in flags], "accuracy", name),
        rows("global_magnitude_mt", [0.4 + 0.01 * s for s in range(6)], "accuracy", name),
    ]
    claims = [c for c in load_claims(ROOT / "claims.yaml") if "minimum" in c.id]
    removes, raises = evaluate_claims(claims, pa.concat_tables(tables)).to_pylist()
    assert (removes["verdict"], removes["effect"], removes["n"]) == ("holds", 1.0, 5)
    assert raises["verdict"] == "holds" and raises["effect"] == pytest.approx(0.3 + 0.02)
