"""What a table says of its columns survives its files, values keep their meaning, and other metadata are named."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet, write_parquet
from winnow.workloads.image_tables import METADATA_KEY
from winnow.workloads.table_columns import (
    MISSING,
    RESERVED,
    Column,
    TableMeta,
    columns_table,
    raw_table,
    table_meta,
    with_workload,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
columns = st.builds(
    Column, text, st.sampled_from(["numeric", "category", "ordinal"]), st.lists(text, max_size=3).map(tuple), text,
    st.integers(0, 9),
)  # fmt: skip
metas = st.builds(
    TableMeta,
    st.sampled_from(["classification", "regression"]),
    text,
    st.none() | text,
    st.lists(text, max_size=3).map(tuple),
    st.lists(columns, max_size=3).map(tuple),
    st.dictionaries(text, st.sampled_from(["numeric", "category"]) | st.lists(text, min_size=1), max_size=2),
    st.dictionaries(text, text, max_size=2),
    text,
)


@given(metas)
def test_metadata_are_read_as_they_were_written(meta):
    table = pa.table({"x": [1]}).replace_schema_metadata(meta.encode())
    assert table_meta(table) == meta
    assert with_workload(meta, "other").workload == "other"
    assert with_workload(with_workload(meta, "other"), meta.workload) == meta


def test_metadata_go_through_a_file(tmp_path):
    meta = TableMeta("regression", "prix", columns=(Column("größe", "ordinal", ("klein", "groß"), "m", 2),))
    write_parquet(pa.table({"x": [1]}), tmp_path / "t.parquet", meta.encode())
    assert table_meta(read_parquet(tmp_path / "t.parquet")) == meta
    (text,) = meta.encode().values()
    assert "größe" in text and list(json.loads(text)) == sorted(json.loads(text))


FIELDS = json.loads(TableMeta("regression", "y", columns=(Column("x", "numeric"),)).encode()[METADATA_KEY.decode()])


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "no json",
        "[]",
        json.dumps(FIELDS | {"kind": "images"}),
        json.dumps(FIELDS | {"task": "ranking"}),
        json.dumps(FIELDS | {"more": 1}),
        json.dumps(FIELDS | {"columns": [{"name": "x"}]}),
        json.dumps(FIELDS | {"columns": 3}),
        json.dumps({key: value for key, value in FIELDS.items() if key != "target"}),
    ],
)
def test_metadata_of_another_kind_are_named(told):
    table = pa.table({"x": [1]}).replace_schema_metadata(None if told is None else {METADATA_KEY: told})
    with pytest.raises(InputError, match="flats: its metadata does not describe a table of columns; make it with") as e:
        table_meta(table, "flats")
    assert "\n" not in str(e.value)


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=6), st.data())
def test_numbers_stay_what_they_are_whatever_holds_them(numbers, data):
    """As floats and as their own texts, with any word for a value that is missing."""
    expected = [None if n is None or np.isnan(n) else n for n in numbers]
    y = ["a"] * len(numbers)
    found = raw_table(pa.table({"x": pa.array(numbers, pa.float64()), "y": y}), source="s", target="y")
    assert found["x"].to_pylist() == expected
    words = [data.draw(st.sampled_from(MISSING)) if n is None else f"  {n!r} " for n in expected]
    if any(n is not None for n in expected):
        again = raw_table(pa.table({"x": words, "y": y}), source="s", target="y")
        assert again["x"].to_pylist() == expected and again["x"].type == pa.float64()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array(["a", None, "?"], pa.large_string()), ["a", None, None]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([1, None, 2**60 + 1], pa.int64()), [1.0, None, 2.0**60]),
        (pa.array([Decimal("1.5"), None, Decimal("-2")]), [1.5, None, -2.0]),
        (pa.array([0.5, float("nan"), None], pa.float32()), [0.5, None, None]),
        (pa.nulls(3), [None, None, None]),
    ],
)
def test_every_plain_type_is_a_number_or_a_text(column, expected):
    found = raw_table(pa.table({"x": column, "y": [0, 1, 1]}), source="s", target="y")["x"]
    assert found.to_pylist() == expected and found.type in (pa.float64(), pa.string())


def test_a_type_that_is_neither_is_named():
    table = pa.table({"x": pa.array([[1], [2]]), "y": [0, 1]})
    with pytest.raises(
        InputError, match=r"t: column 'x' holds list<.*>; make it a number or a text, or name it in leave"
    ):
        raw_table(table, source="s", target="y", where="t")
    assert (
        "x" not in raw_table(table.append_column("z", [[1, 2]]), source="s", target="y", leave_out=["x"]).schema.names
    )


TWICE = pa.table([pa.array([1, 2]), pa.array([3, 4]), pa.array([0, 1])], names=["x", "x", "y"])
ONCE = pa.table({"x": ["1", "b"], "y": [0, 1]})


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (ONCE, {"target": "z"}, "t: no column 'z'; it has x, y"),
        (ONCE, {"group": "g"}, "no column 'g'"),
        (ONCE, {"leave_out": ["l"]}, "no column 'l'"),
        (ONCE, {"features": ["f"]}, "no column 'f'"),
        (ONCE, {"columns": {"c": "category"}}, "no column 'c', whose type is set; it has x, y"),
        (
            ONCE,
            {"columns": {"x": "numeric"}},
            "column 'x' is set to numeric and holds text; correct it",
        ),
        (ONCE, {"task": "regression", "target": "x"}, "column 'x' is text; a regression target is a number"),
        (ONCE, {"leave_out": ["x"]}, "no column is left beside the target; leave out fewer"),
        (TWICE, {}, "two columns are called 'x'; rename one of them"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(table, options, said):
    with pytest.raises(InputError, match=said) as error:
        raw_table(table, **{"source": "s", "target": "y", "where": "t"} | options)
    assert "\n" not in str(error.value) and str(error.value).startswith("t: ")


def test_the_first_of_two_columns_counts_where_features_are_named():
    assert raw_table(TWICE, source="s", target="y", features=["x"])["x"].to_pylist() == [1, 2]


def test_what_was_said_of_a_column_decides_how_it_is_read():
    table = pa.table({"code": ["01", "02"], "size": ["S", "L"], "n": [1.0, 2.0], "y": [0, 1]})
    plain = raw_table(table, source="s", target="y")
    assert plain["code"].to_pylist() == [1, 2]
    told = {"code": "category", "size": ["S", "L"], "n": "category"}
    found = raw_table(table, source="s", target="y", columns=told)
    assert [found[name].to_pylist() for name in ("code", "size", "n")] == [["01", "02"], ["S", "L"], ["1", "2"]]
    assert table_meta(found).declared == told


def test_classes_have_the_names_and_the_order_that_the_source_says():
    table = pa.table({"x": [1, 2, 3, 4], "y": ["2", "1", None, "3"]})
    found = raw_table(table, source="s", target="y", classes={"1": "no", "2": "yes", "4": "no"})
    assert found["target"].to_pylist() == ["yes", "no", None, "3"] and table_meta(found).classes == ("no", "yes")
    assert table_meta(raw_table(table, source="s", target="y")).classes == ()
    numbers = pa.table({"x": [1, 2], "y": ["1", "2"]})
    regression = raw_table(numbers, source="s", target="y", task="regression", classes={"1": "no"})
    assert regression["target"].to_pylist() == [1, 2] and table_meta(regression).classes == ()


def test_one_text_among_numbers_makes_all_of_them_texts():
    table = raw_table(pa.table({"x": ["1", "2", "many"], "y": [0, 0, 1]}), source="s", target="y")
    assert table["x"].to_pylist() == ["1", "2", "many"]
    empty = raw_table(pa.table({"x": ["", "?"], "y": [0, 1]}), source="s", target="y")
    assert empty["x"].to_pylist() == [None, None] and empty["x"].type == pa.string()


def test_classes_of_numbers_are_told_without_a_point():
    y = pa.array([1.0, 2.0, None, 0.25])
    found = raw_table(pa.table({"x": [1, 2, 3, 4], "y": y}), source="s", target="y")
    assert found["target"].to_pylist() == ["1", "2", None, "0.25"]
    grouped = raw_table(pa.table({"x": [1, 2], "y": ["a", "b"], "g": [7.0, 8.0]}), source="s", target="y", group="g")
    assert grouped["group"].to_pylist() == ["7", "8"]


@pytest.mark.parametrize("name", RESERVED)
def test_a_feature_of_a_reserved_name_is_kept_under_another_with_what_was_said_of_it(name):
    table = pa.table({name: [1.0, 2.0], "z": [0, 1]})
    found = raw_table(table, source="s", target="z", columns={name: "numeric"}, units={name: "kg"})
    assert found[f"{name}_"].to_pylist() == [1, 2]
    meta = table_meta(found)
    assert meta.declared == {f"{name}_": "numeric"} and meta.units == {f"{name}_": "kg"}


def test_splits_of_the_publisher_are_kept_and_other_columns_of_that_name_are_features():
    data = {"x": [1, 2], "y": [0, 1]}
    told = raw_table(pa.table(data), source="s", target="y", splits=["train", "test"])
    assert told["split"].to_pylist() == ["train", "test"]
    own = raw_table(pa.table(data | {"split": ["valid", "train"]}), source="s", target="y")
    assert own["split"].to_pylist() == ["valid", "train"] and "split_" not in own.schema.names
    three = {"x": [1, 2, 3], "y": [0, 1, 1], "split": ["valid", "train", "test"]}
    assert "split" in raw_table(pa.table(three), source="s", target="y").schema.names
    other = raw_table(pa.table(data | {"split": ["left", "train"]}), source="s", target="y")
    assert "split" not in other.schema.names and other["split_"].to_pylist() == ["left", "train"]
    both = raw_table(pa.table(data | {"split": ["valid", "train"]}), source="s", target="y", splits=["test", "test"])
    assert both["split"].to_pylist() == ["test", "test"] and both["split_"].to_pylist() == ["valid", "train"]


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_the_row_of_an_infinite_value_is_named_also_of_the_target(value):
    with pytest.raises(InputError, match=r"flats: column 'x', row 1: is infinite; correct it or leave it empty"):
        raw_table(pa.table({"x": [1.0, value, value], "y": [0, 1, 1]}), source="s", target="y", where="flats")
    with pytest.raises(InputError, match=r"column 'target', row 0: is infinite"):
        raw_table(pa.table({"x": [1, 2], "y": [value, 1.0]}), source="s", target="y", task="regression")


def test_columns_are_told_in_a_table_of_one_schema_also_where_there_are_none():
    meta = TableMeta(
        "regression", "y", columns=(Column("a", "numeric", unit="m", missing=3), Column("b", "category", ("u", "v")))
    )
    found = columns_table(meta)
    assert found.to_pylist() == [
        {"name": "a", "type": "numeric", "levels": [], "unit": "m", "missing": 3},
        {"name": "b", "type": "category", "levels": ["u", "v"], "unit": "", "missing": 0},
    ]
    assert columns_table(TableMeta("regression", "y")).schema == found.schema
