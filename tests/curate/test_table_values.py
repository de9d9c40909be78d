"""Types, levels and classes are told from values by the rules that are written down, and what breaks them is named."""

import numpy as np
import pyarrow as pa
import pytest

from winnow.curate._table_values import (
    MANY_LEVELS,
    check_raw_table,
    column_of,
    features_of,
    labels_of,
    require_all,
)
from winnow.errors import InputError
from winnow.workloads.table_columns import Column, TableMeta, raw_table

COLUMNS = {"age": [1.0, 2.0, None, 4.0], "town": ["Ulm", "Bonn", None, "Kiel"], "ill": ["no", "yes", "no", "yes"]}


def raw(data=COLUMNS, **options):
    return raw_table(pa.table(data), **{"source": "here", "target": "ill"} | options)


def with_column(table, name, values):
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array(values)).replace_schema_metadata(table.schema.metadata)


def test_a_raw_table_tells_what_it_is():
    meta = check_raw_table(raw(), "t")
    assert (meta.task, meta.target, meta.group) == ("classification", "ill", None)
    numbers = raw({"age": [1.0, 2.0], "price": [1.5, 2.5]}, target="price", task="regression")
    assert check_raw_table(numbers, "t").task == "regression"
    grouped = raw(COLUMNS | {"who": ["a", "a", "b", "b"]}, group="who")
    assert check_raw_table(grouped, "t").group == "who"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (with_column(raw(), "row", [0] * 4), "'row' repeats"),
        (with_column(raw(), "age", [1, 2, 3, 4]), "t: column 'age' is int64; it must be double or string"),
        (with_column(raw(), "age", [1.0, np.inf, None, 2.0]), "column 'age', row 1: inf; leave it empty where there"),
        (with_column(raw(), "age", [1.0, 2.0, np.nan, 2.0]), "column 'age', row 2: nan"),
        (with_column(raw(), "target", [1, 2, 3, 4]), "'target' is int64; it must be string"),
        (raw().drop_columns(["source"]), "no column 'source'"),
        (raw().slice(0, 0), "no rows"),
        (raw().drop_columns(["age", "town"]), "t: no column beside the target; there is nothing to learn from"),
        (raw().replace_schema_metadata(None), "does not describe a table of columns"),
        (raw(COLUMNS | {"who": list("aabb")}, group="who").drop_columns(["group"]), "no column 'group'"),
        (with_column(raw({"a": [1.0, 2.0], "y": [1.0, 2.0]}, target="y", task="regression"), "target", ["a", "b"]),
         "'target' is string; it must be double"),
    ],
)  # fmt: skip
def test_a_raw_table_that_breaks_the_schema_is_named(broken, message):
    with pytest.raises(InputError, match=message):
        check_raw_table(broken, "t")


def test_features_are_what_is_not_reserved_and_holds_a_value():
    table = raw(COLUMNS | {"empty": pa.array([None] * 4, pa.string()), "sparse": [None, None, None, 1.0]})
    assert features_of(table) == ["age", "town", "sparse"]


def meta_of(declared=None, units=None, task="classification", classes=()):
    return TableMeta(task, "ill", classes=classes, declared=declared or {}, units=units or {})


def column(values, declared=None, train=None, name="x", units=None):
    table = pa.table({name: values})
    train = np.arange(len(values)) if train is None else np.array(train)
    return column_of(table, name, meta_of(declared, units), train, "t")


def test_numbers_are_numeric_and_texts_a_category_unless_somebody_says_otherwise():
    assert column([1.5, None], units={"x": "m", "y": "s"}) == Column("x", "numeric", unit="m")
    assert column(["b", "a", None, "b"]) == Column("x", "category", ("a", "b"))
    assert column(["a", None, "b"], {"x": ["b", "a", "c"]}, units={"x": "m"}) == Column(
        "x", "ordinal", ("b", "a", "c"), "m"
    )
    assert column(["1", "2"], {"x": (2, 1)}).levels == ("2", "1")
    assert column(["a", "b"], {"y": ["a"]}).type == "category"


def test_levels_are_those_of_the_training_rows_in_the_order_of_numbers_where_all_are():
    assert column(["10", "9", "8", "8.0"], train=[0, 1, 3]).levels == ("8.0", "9", "10")
    assert column(["10", "9", "x"], train=[0, 1]).levels == ("9", "10")
    assert column(["10", "9", "x"]).levels == ("10", "9", "x")
    assert column(["1.0", "1", "a"], train=[0, 1]).levels == ("1", "1.0")
    assert column([None, "a", "b"], train=[0, 1]).levels == ("a",)


def test_an_ordinal_of_another_level_is_named():
    with pytest.raises(InputError, match="t: column 'x', row 2: 'medium'; its levels are small, large"):
        column(["small", None, "medium"], {"x": ["small", "large"]})


@pytest.mark.parametrize(
    ("distinct", "rows", "category"),
    [
        (MANY_LEVELS, MANY_LEVELS, True),
        (MANY_LEVELS + 1, MANY_LEVELS + 1, False),
        (MANY_LEVELS + 1, 2 * MANY_LEVELS + 2, True),
        (MANY_LEVELS + 1, 2 * MANY_LEVELS + 1, False),
    ],
)
def test_a_text_of_more_than_50_levels_and_than_half_its_rows_names_its_rows(distinct, rows, category):
    values = [f"n{i % distinct}" for i in range(rows)] + [None] * 30  # rows without a value do not count
    assert MANY_LEVELS == 50 and column(values, {"x": "category"}).type == "category"
    if category:
        assert len(column(values).levels) == distinct
    else:
        with pytest.raises(
            InputError, match=rf"'x' has {distinct} different texts in {rows} rows, which is no .*leave_out"
        ):
            column(values)


def test_classes_are_numbered_as_the_source_says_and_then_in_order():
    target = pa.table({"target": ["10", "b", None, "9", "10"]})
    labels, classes = labels_of(target, meta_of(), "t")
    assert classes == ("10", "9", "b") and labels.tolist() == [0, 2, -1, 1, 0] and labels.dtype == np.int64
    labels, classes = labels_of(target, meta_of(classes=("b", "c", "9")), "t")
    assert classes == ("b", "9", "10") and labels.tolist() == [2, 0, -1, 1, 2]
    numbers = pa.table({"target": ["10", "9", "9", None]})
    assert labels_of(numbers, meta_of(), "t")[1] == ("9", "10")


def test_regression_has_one_label_for_what_is_there():
    labels, classes = labels_of(pa.table({"target": [1.0, None, 3.0]}), meta_of(task="regression"), "t")
    assert labels.tolist() == [0, -1, 0] and classes == ()


def test_one_class_and_too_many_are_refused():
    with pytest.raises(InputError, match=r"t: target 'ill' has one class \(no\); it needs two or more"):
        labels_of(pa.table({"target": ["no", None]}), meta_of(), "t")
    assert len(labels_of(pa.table({"target": [f"c{i}" for i in range(50)]}), meta_of(), "t")[1]) == 50
    many = pa.table({"target": [f"c{i % 51}" for i in range(254)]})
    with pytest.raises(InputError, match="'ill' has 51 different values in 254 rows, which are no classes; set task"):
        labels_of(many, meta_of(), "t")
    enough = pa.table({"target": [f"c{i % 51}" for i in range(255)]})
    assert len(labels_of(enough, meta_of(), "t")[1]) == 51


def test_every_split_has_a_row_and_every_class_one_to_train_on():
    labels, splits = np.array([0, 1, 0, 1]), np.array(["train", "train", "valid", "test"], object)
    require_all(labels, splits, ("a", "b"), "t")
    with pytest.raises(InputError, match="t: no row is left for valid; bring more rows or groups"):
        require_all(labels, np.array(["train", "train", "test", "test"], object), ("a", "b"), "t")
    with pytest.raises(InputError, match="t: class 'b' has no row left to train on; add rows or drop the class"):
        require_all(np.array([0, 0, 1, 1]), splits, ("a", "b"), "t")
