"""Rows become pairs: which are selected, how they are matched and averaged, and what lacks a partner."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.judging import BOTH, GAINS, OURS, THEIRS, claim, judge, one, rows
from winnow.evaluate.claim_pairs import NotRun, comparisons, pairs


def test_lower_is_better_turns_the_difference_round():
    row = one(claim(measure={"direction": "lower"}), *BOTH)
    assert row["effect"] == pytest.approx(-GAINS.mean()) and row["verdict"] == "does not hold"
    assert row["high"] < 0


def test_a_ratio_of_values_that_are_not_positive_is_not_run():
    row = one(claim(effect=2, measure={"compare": "ratio"}), rows("ours", [1.0, 0.0]), rows("theirs", [1.0, 1.0]))
    assert row["verdict"] == "not run" and "above 0" in row["note"] and row["effect"] is None


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


def test_several_right_hand_sides_are_compared_one_by_one():
    measure = {"right": [{"system": "theirs"}, {"system": "others"}]}
    overall, first, second = judge(claim("exact", measure=measure), *BOTH, rows("others", OURS))
    assert (first["point"], second["point"]) == ("over theirs", "over others")
    assert (first["verdict"], second["verdict"], overall["verdict"]) == ("holds", "does not hold", "partly")
    assert overall["right"] == "others"


@pytest.mark.parametrize("against", ["every", "best"])
@pytest.mark.parametrize("points", [{}, {"a": {}, "b": {"variant": "x"}}])
@pytest.mark.parametrize("rights", [1, 2])
def test_a_comparison_is_called_by_its_point_and_by_what_it_is_over_where_there_are_several(against, points, rights):
    right = [{"system": name} for name in ("theirs", "others")[:rights]]
    found = comparisons(claim(measure={"right": right, "against": against, "points": points}).measure)
    over = ["over theirs", "over others"] if (rights, against) == (2, "every") else [""]
    assert [c.point for c in found] == [f"{name} {each}".strip() for name in points or [""] for each in over]


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


def test_what_is_ambiguous_is_named_by_its_pair_also_where_columns_are_pooled():
    measure = claim(measure={"pool": ["workload"]}).measure
    tables = [*BOTH, rows("ours", [0.5], variant="b", seeds=[3])]
    with pytest.raises(NotRun, match=r"^ambiguous: ours accuracy has two values for seed 3; select one row, or pool"):
        pairs(measure, comparisons(measure)[0], pa.concat_tables(tables))


@pytest.mark.parametrize(("unit", "expected"), [("share", "share"), ("", ""), (None, "")])
@pytest.mark.parametrize("compare", ["difference", "ratio"])
def test_a_difference_has_the_unit_of_its_rows_and_a_ratio_is_a_ratio(unit, expected, compare):
    measure = claim(effect=0.5, measure={"compare": compare}).measure
    table = pa.concat_tables(BOTH)
    units = pa.array([unit] * table.num_rows, pa.string())
    table = table.set_column(table.schema.get_field_index("unit"), "unit", units)
    assert pairs(measure, comparisons(measure)[0], table).unit == (expected if compare == "difference" else "ratio")


def test_the_same_value_twice_is_not_ambiguous():
    assert one(claim(), *BOTH, BOTH[1])["n"] == 5


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
