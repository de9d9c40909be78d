"""Every row is kept or has its reason, the first of a group stays, and a published split is followed and completed."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.curate._rows import KEEP_FIRST, Rows, check_rows, check_values
from winnow.errors import InputError
from winnow.workloads.splits import hash_split

SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


def table(numbers, splits=None):
    columns = {"row": pa.array(numbers, pa.int64())}
    return pa.table(columns | ({} if splits is None else {"split": splits}))


def rows_of(ids, labels=None, numbers=None, splits=None):
    labels = np.zeros(len(ids), np.int64) if labels is None else np.array(labels)
    return Rows(table(range(len(ids)) if numbers is None else numbers, splits), np.array(ids), labels)


def test_rows_are_kept_until_a_reason_drops_them():
    rows = rows_of([5, 6, 7, 8])
    assert rows.kept.tolist() == [0, 1, 2, 3] and rows.instead.tolist() == [-1] * 4 and rows.published is None
    rows.drop(np.array([2, 0]), "blank")
    assert rows.kept.tolist() == [1, 3] and rows.reason.tolist() == ["blank", None, "blank", None]
    assert rows.instead.tolist() == [-1] * 4


def test_copies_outside_train_stay_first():
    assert sorted(KEEP_FIRST, key=KEEP_FIRST.get) == ["test", "valid", "train"]
    rows = rows_of([1, 1, 1], splits=["train", "test", "valid"])
    assert rows.precedence.tolist() == [2, 0, 1]


grouped = st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(["train", "valid", "test"]))


@given(st.lists(grouped, min_size=1, max_size=12), st.randoms(use_true_random=False), st.booleans())
def test_of_any_group_the_first_by_split_content_and_number_stays(drawn, random, published):
    numbers = random.sample(range(100), len(drawn))
    ids, splits = [i for _, i, _ in drawn], [s for *_, s in drawn]
    rows = rows_of(ids, numbers=numbers, splits=splits if published else None)
    asked = sorted(random.sample(range(len(drawn)), random.randint(1, len(drawn))))
    rows.drop_all_but_first(np.array(asked), np.array([drawn[i][0] for i in asked]), "copy")
    rank = {"test": 0, "valid": 1, "train": 2} if published else dict.fromkeys(SHARES, 0)
    for i in range(len(drawn)):
        if i not in asked:
            assert rows.reason[i] is None and rows.instead[i] == -1
            continue
        alike = [j for j in asked if drawn[j][0] == drawn[i][0]]
        first = min(alike, key=lambda j: (rank[splits[j]], ids[j], numbers[j]))
        assert rows.reason[i] == (None if i == first else "copy")
        assert rows.instead[i] == (-1 if i == first else ids[first])


def test_keys_under_several_labels_are_told_with_all_their_kept_rows():
    rows = rows_of(range(7), labels=[0, 1, 0, 0, 2, 1, 1])
    rows.drop(np.array([6]), "blank")
    keys = np.array([9, 9, 8, 8, 9, 7, 7])
    found, count = rows.conflicting(keys)
    assert found.tolist() == [0, 1, 4] and count == 1
    rows.drop(np.array([1, 4]), "conflict")
    assert rows.conflicting(keys)[0].tolist() == [] and rows.conflicting(keys)[1] == 0


def test_without_a_published_split_all_rows_are_split_by_hash():
    rows = rows_of(range(40), labels=np.arange(40) % 2)
    rows.drop(np.array([3]), "blank")
    keys, strata = [f"k{i}" for i in rows.kept], rows.labels[rows.kept]
    found = rows.splits(keys, strata, "salt", SHARES, "t")
    assert found.tolist() == hash_split(keys, strata, "salt", SHARES).tolist()
    assert {s: int((found == s).sum()) for s in SHARES} == {"train": 23, "valid": 8, "test": 8}


@pytest.mark.parametrize(("given_splits", "cut"), [(("train", "test"), ("valid",)), (("train",), ("valid", "test"))])
def test_what_the_publisher_left_out_is_cut_from_train_by_the_shares_of_what_is_cut(given_splits, cut):
    splits = [given_splits[i % len(given_splits)] for i in range(80)]
    rows = rows_of(range(80), splits=splits)
    keys, strata = np.arange(80), np.zeros(80, int)
    found = rows.splits(keys, strata, "salt", SHARES, "t")
    from_train = np.array(splits) == "train"
    assert (found[~from_train] == "test").all()
    total = 0.6 + 0.2 * len(cut)
    shares = {"train": 0.6 / total} | dict.fromkeys(cut, 0.2 / total)
    expected = hash_split(keys[from_train], strata[from_train], "salt", shares)
    assert found[from_train].tolist() == expected.tolist() and set(expected) == {"train", *cut}


def test_a_published_split_of_all_three_stays_as_it_is_also_where_train_lost_its_rows():
    splits = ["valid", "train", "test", "train"]
    rows = rows_of(range(4), splits=splits)
    rows.drop(np.array([3]), "blank")
    assert rows.splits([0, 1, 2], np.zeros(3, int), "salt", SHARES, "t").tolist() == splits[:3]
    with pytest.raises(InputError, match="t: its split column has no 'train'; name the split to train on so"):
        rows_of(range(2), splits=["valid", "test"]).splits([0, 1], np.zeros(2, int), "salt", SHARES, "t")


def test_a_report_counts_rows_by_class_split_and_published_split():
    splits = ["train", "train", "train", "test", "valid", "train"]
    rows = rows_of(range(6), labels=[0, 1, 1, 0, -1, -1], splits=splits)
    rows.drop(np.array([1]), "copy")
    rows.drop(np.array([5]), "blank")
    report = rows.report(np.array(["train", "valid", "test", "valid"], object), ["a", "b"], ["blank", "copy"])
    none = {"blank": 0, "copy": 0}
    assert report == {
        "rows_in": 6,
        "kept": 4,
        "dropped": {"blank": 1, "copy": 1},
        "classes": {
            "a": {"rows_in": 2, "kept": 2, "dropped": none},
            "b": {"rows_in": 2, "kept": 1, "dropped": none | {"copy": 1}},
        },
        "unlabelled": {"rows_in": 2, "kept": 1, "dropped": none | {"blank": 1}},
        "splits": {
            "train": {"kept": 1, "classes": {"a": 1, "b": 0}},
            "valid": {"kept": 2, "classes": {"a": 0, "b": 1}},
            "test": {"kept": 1, "classes": {"a": 1, "b": 0}},
        },
        "published_splits": {
            "train": {"rows_in": 4, "kept": 2, "dropped": {"blank": 1, "copy": 1}},
            "valid": {"rows_in": 1, "kept": 1, "dropped": none},
            "test": {"rows_in": 1, "kept": 1, "dropped": none},
        },
    }
    assert rows_of([1]).report(np.array(["train"], object), ["a"], [])["published_splits"] == {}


EXPECTED = {"row": pa.int64(), "source": pa.string()}


def whole(**changes):
    return pa.table({"row": [1, 2], "source": ["a", "b"], "split": ["train", "test"]} | changes)


def test_a_table_of_the_right_columns_passes_with_others_beside_them():
    check_rows(whole(), EXPECTED, "t")
    check_rows(whole(more=[1, 2]).drop_columns("split"), EXPECTED, "t")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (whole().drop_columns("source"), "t: no column 'source'; it has row, split"),
        (whole(row=[1.0, 2.0]), "t: column 'row' is double; it must be int64"),
        (whole(split=[1, 2]), "t: column 'split' is int64; it must be string"),
        (whole().slice(0, 0), "t: no rows; there is nothing to curate"),
        (whole(row=[1, None]), "t: column 'row', row 1: None; it must not be null"),
        (whole(row=[1, 1]), "t: column 'row' repeats a number; it must be different in every row"),
        (whole(split=["train", "dev"]), "t: column 'split', row 1: 'dev'; it must be one of train, valid, test"),
        (whole(split=["train", None]), "t: column 'split', row 1: None; it must be one of"),
    ],
)
def test_a_table_that_cannot_be_curated_is_one_line(found, message):
    with pytest.raises(InputError, match=message):
        check_rows(found, EXPECTED, "t")


def test_the_first_value_that_is_not_valid_is_named():
    found = pa.table({"x": [1, -2, -3]})
    check_values(found, "x", pc.greater(found["x"], -9), "raise it", "t")
    with pytest.raises(InputError, match=r"t: column 'x', row 1: -2; raise it$"):
        check_values(found, "x", pc.greater(found["x"], 0), "raise it", "t")
