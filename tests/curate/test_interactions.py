"""Events are kept, ordered and split by what stands in them, whatever their order in the log."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.interaction_log import events, walks
from winnow.curate.interactions import by_time, curate_interactions, in_core, leave_one_out
from winnow.errors import InputError
from winnow.workloads.interaction_tables import ITEMS, interaction_meta

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20)


@given(pairs, st.integers(1, 4))
def test_the_core_is_the_largest_set_with_enough_events_of_each(found, least):
    users, items = (np.array([pair[i] for pair in found], np.int64) for i in (0, 1))
    rows = set(range(len(found)))
    while True:
        per_user, per_item = Counter(found[i][0] for i in rows), Counter(found[i][1] for i in rows)
        poor = {i for i in rows if per_user[found[i][0]] < least or per_item[found[i][1]] < least}
        if not poor:
            break
        rows -= poor
    assert set(np.flatnonzero(in_core(users, items, least))) == rows


def test_the_last_event_is_test_and_the_one_before_valid():
    users = np.array([0, 0, 1, 1, 1, 2, 3, 3, 3, 3])
    train, valid, test = "train", "valid", "test"
    expected = [train, train, train, valid, test, train, train, train, valid, test]
    assert leave_one_out(users).tolist() == expected


def test_cuts_in_time_leave_equal_times_together():
    times = np.array([5.0, 1, 1, 2, 3, 4, 4, 4, 9, 8])
    splits = by_time(times, (0.5, 0.2, 0.3))
    assert all(len({s for s, t in zip(splits, times, strict=True) if t == time}) == 1 for time in times)
    assert max(times[splits == "train"]) < min(times[splits == "valid"]) < max(times[splits == "test"])


def rows_of(table):
    return list(zip(*(table[name].to_pylist() for name in ("user", "item", "time", "row")), strict=True))


def test_users_and_items_are_numbered_by_name_and_ties_keep_the_order_of_the_log():
    raw = events(
        [("10", "b", 5.0), ("9", "b", 2.0), ("9", "a", 1.0), ("9", "c", 1.0), ("10", "a", 4.0), ("10", "c", 6.0)]
    )
    curated = curate_interactions(raw, workload="w", core=1)
    assert rows_of(curated.tables["train"]) == [(0, 1, 1.0, 2), (1, 1, 4.0, 4)]
    assert rows_of(curated.tables["valid"]) == [(0, 3, 1.0, 3), (1, 2, 5.0, 0)]
    assert rows_of(curated.tables["test"]) == [(0, 2, 2.0, 1), (1, 3, 6.0, 5)]
    assert curated.users["name"].to_pylist() == ["9", "10"] and curated.users["events"].to_pylist() == [3, 3]
    assert curated.items["name"].to_pylist() == ["a", "b", "c"] and curated.items["events"].to_pylist() == [2, 0, 0]
    assert curated.report["tied_neighbours"] == 0.25


def test_what_cannot_be_used_is_dropped_with_its_reason():
    log = [("a", "x", 1.0), (None, "x", 2.0), ("a", None, 3.0), ("a", "y", None), ("a", "x", 1.0), ("a", "x", 9.0)]
    rest = [("a", "y", 4.0), ("a", "z", 5.0), ("b", "x", 1.0), ("b", "y", 2.0), ("b", "q", 3.0), ("b", "z", 4.0)]
    curated = curate_interactions(events(log + rest), workload="w", core=2)
    reasons = {row: reason for row, _, reason in zip(*curated.dropped.to_pydict().values(), strict=True)}
    incomplete = dict.fromkeys((1, 2, 3), "incomplete")
    assert reasons == incomplete | {4: "exact_duplicate", 5: "repeated_item", 10: "too_rare"}
    report = curated.report
    assert report["rows_in"] == 12 == report["kept"] + sum(report["dropped"].values())
    assert sum(split["kept"] for split in report["splits"].values()) == report["kept"] == 6


def test_repeats_are_kept_where_asked_for_unless_they_are_the_same_event():
    log = [("a", "x", 1.0), ("a", "x", 2.0), ("a", "x", 2.0), ("a", "y", 3.0)]
    report = curate_interactions(events(log), workload="w", core=1, repeats="keep").report
    assert report["kept"] == 3 and report["dropped"]["exact_duplicate"] == 1


@given(st.randoms(use_true_random=False))
def test_nothing_depends_on_the_order_of_the_log_where_times_differ(random):
    raw = walks(users=12)
    order = list(range(raw.num_rows))
    random.shuffle(order)
    shuffled = raw.take(pa.array(order))
    for split in ("leave_one_out", "global_time"):
        first, second = (
            curate_interactions(table, workload="w", core=2, split=split, fractions=(0.6, 0.2, 0.2))
            for table in (raw, shuffled)
        )
        assert all(first.tables[name].equals(second.tables[name]) for name in first.tables)
        assert first.users.equals(second.users) and first.items.equals(second.items)


def test_a_smaller_limit_keeps_a_subset_of_the_users():
    raw = walks(users=30)
    names = [
        set(curate_interactions(raw, workload="w", core=1, limit=limit).users["name"].to_pylist()) for limit in (5, 12)
    ]
    assert len(names[0]) == 5 and len(names[1]) == 12 and names[0] < names[1]


def test_users_are_in_groups_of_the_given_shares_that_another_salt_changes():
    raw = walks(users=40)
    groups = [curate_interactions(raw, workload="w", core=1, split_salt=s).users["group"].to_pylist() for s in "ab"]
    assert Counter(groups[0]) == {"train": 28, "valid": 4, "test": 8} == Counter(groups[1])
    assert groups[0] != groups[1]


def test_what_is_known_of_items_is_theirs_and_titles_are_words():
    known = pa.Table.from_pylist(
        [
            {"item": "i3", "title": "Three", "year": 1933, "genres": ["g"], "properties": ["p: q"]},
            {"item": "none", "title": "None", "year": 1, "genres": [], "properties": []},
        ],
        ITEMS,
    )
    curated = curate_interactions(walks(items=4), known, workload="w", core=1, window=3)
    assert curated.items["title"].to_pylist() == ["i0", "i1", "i2", "Three"]
    assert curated.items.to_pylist()[3]["properties"] == ["p: q"]
    told = interaction_meta(curated.tables["test"].replace_schema_metadata(curated.metadata), "t")
    assert (told.vocabulary, told.window, told.workload) == (["", "i0", "i1", "i2", "Three"], 3, "w")


def test_bad_input_is_named():
    raw = walks(users=3)
    with pytest.raises(InputError, match="w: no event is left; lower core, which is 99"):
        curate_interactions(raw, workload="w", core=99)
    with pytest.raises(InputError, match="w: no event is in valid; give users of three events"):
        curate_interactions(events([("a", "x", 1.0), ("a", "y", 2.0)]), workload="w", core=1)
    with pytest.raises(InputError, match="w: raw table: no column 'time'"):
        curate_interactions(raw.drop_columns(["time"]), workload="w")
