from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from winnow.errors import InputError
from winnow.evaluate.claims import CLAIMS_SCHEMA, VERDICTS, evaluate_claims
from winnow.evaluate.claims_schema import Claim, load_claims
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows

ROOT = Path(__file__).parents[2]
PAPER = {"title": "T", "authors": "A", "venue": "V", "year": 2020}
OURS = [0.90, 0.92, 0.91, 0.95, 0.93]
THEIRS = [0.85, 0.90, 0.88, 0.89, 0.92]
GAINS = np.array(OURS) - np.array(THEIRS)


def claim(test="paired_t", effect=0.0, minimum_pairs=2, within=None, measure=None, **entry):
    defaults = {
        "metric": "accuracy",
        "direction": "higher",
        "left": {"system": "ours"},
        "right": {"system": "theirs"},
    }
    fields = {"id": "one", "system": "ours", "paper": PAPER, "statement": "Ours is better.", "test": test}
    bound = {"within": within} if within else {"effect": effect}
    return Claim(**fields | bound | {"minimum_pairs": minimum_pairs} | entry, measure=defaults | (measure or {}))


def rows(system, values, metric="accuracy", variant="a", seeds=None, step=None, workload="digits", split="test"):
    seeds = range(len(values)) if seeds is None else seeds
    labels = {"system": system, "workload": workload, "variant": variant, "split": split}
    return pa.concat_tables(
        [metric_rows([(metric, v, step)], seed=s, **labels) for s, v in zip(seeds, values, strict=True)]
    )


def judge(entry, *tables, **options):
    return evaluate_claims([entry], pa.concat_tables(tables), **options).to_pylist()


def one(entry, *tables, **options):
    found = judge(entry, *tables, **options)
    assert len(found) == 1
    return found[0]


BOTH = rows("ours", OURS), rows("theirs", THEIRS)


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


def test_lower_is_better_turns_the_difference_round():
    row = one(claim(measure={"direction": "lower"}), *BOTH)
    assert row["effect"] == pytest.approx(-GAINS.mean()) and row["verdict"] == "does not hold"
    assert row["high"] < 0


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


def test_a_ratio_of_values_that_are_not_positive_is_not_run():
    row = one(claim(effect=2, measure={"compare": "ratio"}), rows("ours", [1.0, 0.0]), rows("theirs", [1.0, 1.0]))
    assert row["verdict"] == "not run" and "above 0" in row["note"] and row["effect"] is None


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


def test_a_constant_can_be_the_right_hand_side():
    row = one(claim("exact", measure={"right": 0.85}), BOTH[0])
    assert row["effect"] == pytest.approx(np.mean(OURS) - 0.85) and row["right"] == "0.85"
    assert one(claim("exact", measure={"right": 0.91}), BOTH[0])["verdict"] == "does not hold"
    assert one(claim("exact", effect=-0.1, measure={"right": 0}), BOTH[0])["right"] == "0"


def test_pairs_are_matched_by_seed_whatever_the_order_and_the_unmatched_are_named():
    shuffled = rows("theirs", THEIRS[::-1] + [0.1], seeds=[4, 3, 2, 1, 0, 9])
    row = one(claim("exact"), BOTH[0], shuffled)
    assert row["effect"] == pytest.approx(GAINS.mean()) and row["n"] == 5
    assert row["note"] == "without a partner: seed 9"


def three_points(*gains):
    """A claim at several points, ours ahead by the given constants."""
    entry = {"points": {f"p{i}": {"variant": f"v{i}"} for i in range(len(gains))}}
    ours = [rows("ours", np.array(THEIRS) + g, variant=f"v{i}") for i, g in enumerate(gains) if g is not None]
    return entry, [*ours, *(rows("theirs", THEIRS, variant=f"v{i}") for i in range(len(gains)))]


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


def test_several_right_hand_sides_are_compared_one_by_one():
    measure = {"right": [{"system": "theirs"}, {"system": "others"}]}
    overall, first, second = judge(claim("exact", measure=measure), *BOTH, rows("others", OURS))
    assert (first["point"], second["point"]) == ("over theirs", "over others")
    assert (first["verdict"], second["verdict"], overall["verdict"]) == ("holds", "does not hold", "partly")
    assert overall["right"] == "others"


@pytest.mark.parametrize(("direction", "best"), [("higher", np.maximum), ("lower", np.minimum)])
def test_best_of_several_is_the_best_in_each_pair(direction, best):
    others = [0.95, 0.80, 0.89, 0.99, 0.5]
    measure = {
        "right": [{"system": "theirs"}, {"system": "others"}],
        "against": "best",
        "direction": direction,
    }
    row = one(claim(measure=measure), *BOTH, rows("others", others))
    expected = np.mean(OURS) - np.mean(best(THEIRS, others))
    assert row["effect"] == pytest.approx(expected if direction == "higher" else -expected)
    assert row["right"] == "best of theirs, others"


def test_best_of_several_needs_all_of_them_in_a_pair():
    measure = {"right": [{"system": "theirs"}, {"system": "others"}], "against": "best"}
    row = one(claim("exact", measure=measure), *BOTH, rows("others", [0.0] * 3, seeds=[0, 2, 3]))
    assert row["n"] == 3 and row["effect"] == pytest.approx(GAINS[[0, 2, 3]].mean())
    assert row["note"] == "without a partner: seed 1, 4"


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


@pytest.mark.parametrize(
    ("measure", "note"),
    [
        ({"left": {"system": "nobody"}}, "no rows with system nobody"),
        ({"metric": "loss"}, "no rows with system ours, metric loss"),
        (
            {"right": {"system": "theirs", "variant": "b"}},
            "no rows with system theirs, metric accuracy, variant b",
        ),
        ({"split": "valid"}, "no rows with system ours, metric accuracy, split valid"),
        ({"workload": "python"}, "no rows with system ours, workload python"),
        ({"step": 3}, "no rows of step 3 with system ours, metric accuracy"),
        ({"right": {"system": "empty"}}, "no finite value with system empty, metric accuracy"),
        ({"right": {"system": "later"}}, "the two sides have no seed in common"),
        ({"right": {"system": "both"}}, "ambiguous: both accuracy has two values for seed 0"),
    ],
)
def test_what_is_missing_is_said_and_nothing_crashes(measure, note):
    extra = [
        rows("empty", [None, float("nan")]),
        rows("later", THEIRS, seeds=range(10, 15)),
        rows("both", THEIRS, variant="a"),
        rows("both", OURS, variant="b"),
    ]
    row = one(claim(measure=measure), *BOTH, *extra)
    assert row["verdict"] == "not run" and row["note"].startswith(note) and row["n"] == 0


def test_the_overall_note_names_the_first_reason_and_how_many_others_there_are():
    measure, tables = three_points(None, 0.1, None)
    overall = judge(claim("exact", measure=measure), *tables)[0]
    first = "no rows with system ours, metric accuracy, variant v0"
    assert overall["note"] == f"1 of 3 comparisons hold; {first}; and 1 more"
    alike = judge(claim("exact", minimum_pairs=9, measure={"points": {"a": {}, "b": {}}}), *BOTH)[0]
    assert alike["note"] == "5 of the 9 pairs needed" and alike["n"] == 5


def test_the_same_value_twice_is_not_ambiguous():
    assert one(claim(), *BOTH, BOTH[1])["n"] == 5


def test_an_empty_table_runs_nothing():
    assert one(claim(), METRICS_SCHEMA.empty_table())["verdict"] == "not run"
    assert evaluate_claims([], METRICS_SCHEMA.empty_table()).schema == CLAIMS_SCHEMA


def test_rows_that_are_null_drop_their_pair():
    holed = rows("theirs", [None, *THEIRS[1:]])
    row = one(claim("exact"), BOTH[0], holed)
    assert row["n"] == 4 and row["effect"] == pytest.approx(GAINS[1:].mean())
    assert row["note"] == "without a partner: seed 0"


def test_stars_and_lists_select_several_variants():
    tables = [*BOTH, rows("ours", [0.1] * 5, variant="l1-3"), rows("theirs", [0.0] * 5, variant="l1-3")]
    assert one(claim("exact", measure={"variant": "l1-*"}), *tables)["effect"] == pytest.approx(0.1)
    assert one(claim("exact", measure={"variant": ["x", "l1-3"]}), *tables)["effect"] == pytest.approx(0.1)
    assert one(claim("exact", measure={"variant": "l?-3"}), *tables)["verdict"] == "not run"
    assert one(claim("exact", measure={"variant": "[l]1-3"}), *tables)["verdict"] == "not run"


def test_pooled_columns_are_matched_and_averaged_within_a_pair():
    tables = [
        rows("ours", [0.9, 0.8], variant="a"),
        rows("ours", [0.5, 0.6], variant="b"),
        rows("theirs", [0.6, 0.7], variant="b"),
        rows("theirs", [0.5, 0.5], variant="a"),
        rows("ours", [0.0], variant="c"),
    ]
    row = one(claim("exact", measure={"pool": ["variant"]}), *tables)
    assert row["n"] == 2 and row["note"] == "without a partner: seed 0"
    assert (row["low"], row["high"]) == pytest.approx((0.1, 0.15))
    ratio = one(claim("exact", effect=1, measure={"pool": ["variant"], "compare": "ratio"}), *tables)
    assert ratio["low"] == pytest.approx(1.4 / 1.2)


def test_pairs_can_be_items_with_seeds_pooled():
    tables = [rows("ours", [1.0 + item, 2.0 + item], step=item) for item in range(3)]
    tables += [rows("theirs", [item * 1.0, 0.5 * item], step=item) for item in range(3)]
    entry = claim("exact", measure={"pair_by": "step", "pool": ["seed"], "step": "every"})
    row = one(entry, *tables)
    assert row["n"] == 3 and (row["low"], row["high"]) == pytest.approx((1.5, 2.0))


def test_steps_are_chosen():
    tables = [rows(s, [v, v], step=step) for s, v, step in [("ours", 1.0, 1), ("ours", 5.0, 7), ("theirs", 0.0, 1)]]
    tables += [
        rows("theirs", [2.0], step=9),
        rows("theirs", [3.0], step=4, seeds=[1]),
        rows("ours", [8.0, 8.0]),
    ]
    assert one(claim("exact", measure={"step": 1}), *tables)["effect"] == 1
    last = one(claim("exact", measure={"step": "last"}), *tables)
    assert (last["low"], last["high"]) == (2, 3)
    row = one(claim("exact", measure={"right": 0.0}), *tables)
    assert row["effect"] == 8


def test_only_pairs_that_meet_the_condition_count():
    collapse = rows("theirs", [0.0, 1.0, 1.0, 0.0, 1.0], metric="collapse")
    measure = {"where": {"side": "right", "metric": "collapse", "equals": 1}}
    row = one(claim("exact", measure=measure), *BOTH, collapse)
    assert row["n"] == 3 and row["effect"] == pytest.approx(GAINS[[1, 2, 4]].mean())
    left = one(claim("exact", measure={"where": measure["where"] | {"side": "left"}}), *BOTH, collapse)
    assert left["verdict"] == "not run" and "system ours, metric collapse" in left["note"]


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


def curve(system, points, seed=0):
    """points: variant -> (l0, value)."""
    made = []
    for variant, (l0, value) in points.items():
        made += [
            rows(system, [l0], "l0", variant, [seed]),
            rows(system, [value], "accuracy", variant, [seed]),
        ]
    return pa.concat_tables(made)


CURVE = {"l1-1": (4.0, 0.5), "l1-3": (64.0, 0.9), "l1-2": (16.0, 0.7), "l1-9": (0.0, 0.0)}


@pytest.mark.parametrize(("l0", "expected"), [(4.0, 0.5), (8.0, 0.6), (32.0, 0.8), (64.0, 0.9)])
def test_a_curve_is_read_at_an_equal_value_of_another_metric(l0, expected):
    measure = {
        "at_equal": "l0",
        "left": {"system": "ours", "variant": "k8"},
        "right": {"system": "r", "variant": "l1-*"},
    }
    tables = [curve("ours", {"k8": (l0, 1.0)}, seed) for seed in (0, 1)]
    tables += [curve("r", CURVE, 0), curve("r", {k: (x, y - 0.1) for k, (x, y) in CURVE.items()}, 1)]
    row = one(claim("exact", measure=measure), *tables)
    assert (row["low"], row["high"]) == pytest.approx((1 - expected, 1.1 - expected))


def test_a_curve_is_read_below_one_and_without_the_variants_that_lack_a_place_on_it():
    measure = {"at_equal": "l0", "right": {"system": "r", "variant": "l1-*"}}
    tables = [curve("ours", {"k8": (1.0, 1.0)}), curve("r", {"l1-1": (0.25, 0.2), "l1-2": (4.0, 0.4)})]
    tables += [rows("r", [0.9], variant="l1-7")]  # an accuracy without an l0
    row = one(claim("exact", minimum_pairs=1, measure=measure), *tables)
    assert row["effect"] == pytest.approx(1 - 0.3)  # half way between 1/4 and 4 in the logarithm


@pytest.mark.parametrize("whole", [0, 1, 2])
def test_only_pairs_with_a_value_a_place_and_a_curve_are_compared(whole):
    """Of four seeds one has all; the others lack the value, the place or the curve."""
    measure = {"at_equal": "l0", "right": {"system": "r", "variant": "l1-*"}}
    no_value, no_place, no_curve = ((whole + i) % 4 for i in (1, 2, 3))
    tables = [curve("ours", {"k8": (8.0, 1.0)}, seed) for seed in (whole, no_curve)]
    tables += [rows("ours", [8.0], "l0", "k8", [no_value]), rows("ours", [1.0], "accuracy", "k8", [no_place])]
    tables += [curve("r", CURVE, seed) for seed in (whole, no_value, no_place)]
    row = one(claim("exact", minimum_pairs=1, measure=measure), *tables)
    assert row["n"] == 1 and row["effect"] == pytest.approx(0.4)
    lost = ", ".join(map(str, sorted((no_place, no_curve))))
    assert row["note"] == f"without a partner: seed {lost}"


def test_a_curve_belongs_to_its_own_pooled_values():
    tables = []
    for workload, shift in [("a", 0.0), ("b", 0.2)]:
        for table in (
            curve("ours", {"k8": (8.0, 1.0)}),
            curve("r", {k: (x, y - shift) for k, (x, y) in CURVE.items()}),
        ):
            place = table.schema.get_field_index("workload")
            tables.append(table.set_column(place, "workload", pa.array([workload] * table.num_rows)))
    measure = {"at_equal": "l0", "pool": ["workload"], "right": {"system": "r", "variant": "l1-*"}}
    row = one(claim("exact", minimum_pairs=1, measure=measure), *tables)
    assert row["effect"] == pytest.approx(1 - (0.6 + 0.4) / 2)


@pytest.mark.parametrize(
    ("right", "label"),
    [
        ({"system": "theirs"}, "theirs"),
        ({"system": "theirs", "variant": ["x", "l1-*"]}, "theirs x + l1-*"),
        ({"system": "ours", "metric": "loss"}, "loss"),
        ({"system": "ours", "step": 3}, "ours"),
        ({"system": "ours", "workload": "python", "split": "valid"}, "python valid"),
    ],
)
def test_a_right_hand_side_is_called_by_what_tells_it_from_the_left(right, label):
    assert one(claim(measure={"right": right}), *BOTH)["right"] == label


@pytest.mark.parametrize("l0", [3.9, 65.0])
def test_a_curve_is_not_extrapolated(l0):
    measure = {"at_equal": "l0", "right": {"system": "r", "variant": "l1-*"}}
    row = one(claim("exact", minimum_pairs=1, measure=measure), curve("ours", {"k8": (l0, 1.0)}), curve("r", CURVE))
    assert row["verdict"] == "not run"
    assert row["note"] == f"r: no value at equal l0 ({l0:.3g} is outside 4 to 64)"
    lonely = one(claim("exact", minimum_pairs=1, measure=measure), curve("ours", {"k8": (8, 1)}), curve("r", CURVE, 5))
    assert lonely["note"] == "r: no value at equal l0 (the curve has no rows for these pairs)"


def test_points_override_the_measure_and_sides_override_both():
    measure = {
        "metric": "x",
        "split": "train",
        "left": {"system": "ours", "variant": "a"},
        "right": {"system": "theirs", "variant": "b"},
        "points": {
            "plain": {},
            "point": {"metric": "accuracy", "variant": "ignored"},
            "side": {"metric": "accuracy", "left": {"variant": "c"}, "right": {"system": "others"}},
            "constant": {"metric": "accuracy", "right": 0.25},
        },
    }
    tables = [rows("ours", [3.0], "x", "a", split="train"), rows("theirs", [1.0], "x", "b", split="train")]
    tables += [
        rows("ours", [5.0], variant="a", split="train"),
        rows("theirs", [1.0], variant="b", split="train"),
    ]
    tables += [
        rows("ours", [9.0], variant="c", split="train"),
        rows("others", [1.0], variant="b", split="train"),
    ]
    tables += [rows("ours", [77.0], variant="a", split="test")]
    found = judge(claim("exact", minimum_pairs=1, measure=measure), *tables)
    assert [r["effect"] for r in found[1:]] == [2.0, 4.0, 8.0, 4.75]


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
