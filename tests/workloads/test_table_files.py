"""A CSV or parquet file becomes a raw table with the values that stand in it."""

import numpy as np
import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads.table_columns import MISSING, raw_table, table_meta
from winnow.workloads.table_files import parse_csv, paste, read_table_file

TEXT = "age,town,zip,ill\n31,Ulm,02134,yes\n?,Bonn,00501,no\n40.5,,12345,no\n"


def written(tmp_path, text, name="people.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def values(table, *names):
    return [table[name].to_pylist() for name in names]


def test_numbers_texts_and_gaps_are_told_apart(tmp_path):
    table = read_table_file(written(tmp_path, TEXT), target="ill")
    assert table.schema.names == ["row", "source", "target", "age", "town", "zip"]
    assert values(table, "row", "source") == [[0, 1, 2], ["people.csv"] * 3]
    assert values(table, "age", "town", "target") == [[31, None, 40.5], ["Ulm", "Bonn", None], ["yes", "no", "no"]]
    assert table["zip"].to_pylist() == [2134, 501, 12345]
    assert table_meta(table).target == "ill"


def test_a_column_said_to_be_a_category_keeps_its_writing(tmp_path):
    table = read_table_file(written(tmp_path, TEXT), target="ill", columns={"zip": "category"})
    assert table["zip"].to_pylist() == ["02134", "00501", "12345"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path, separator):
    table = read_table_file(written(tmp_path, TEXT.replace(",", separator), "people.tsv"), target="ill")
    assert table["age"].to_pylist() == [31, None, 40.5]


def test_a_group_a_split_and_columns_to_leave_out(tmp_path):
    text = "id,age,household,split,ill\na,1,h1,train,0\nb,2,h1,test,1\n"
    path = written(tmp_path, text)
    table = read_table_file(path, target="ill", group="household", leave_out=["id"])
    assert table.schema.names == ["row", "source", "target", "group", "split", "age"]
    assert values(table, "group", "split", "target") == [["h1", "h1"], ["train", "test"], ["0", "1"]]


def test_features_of_reserved_names_get_an_underscore(tmp_path):
    text = "source,row,row_,split,ill\nweb,5,1,left,0\nshop,6,2,right,1\n"
    table = read_table_file(written(tmp_path, text), target="ill", columns={"row": "category"})
    assert table.schema.names == ["row", "source", "target", "source_", "row__", "row_", "split_"]
    assert values(table, "source_", "row__", "row_") == [["web", "shop"], ["5", "6"], [1, 2]]
    assert table_meta(table).declared == {"row__": "category"}


def test_parquet_of_every_plain_type(tmp_path):
    columns = {
        "whole": pa.array([1, 2, None], pa.int16()),
        "real": pa.array([0.5, float("nan"), 1], pa.float32()),
        "yes": pa.array([True, False, None]),
        "word": pa.array(["a", "NA", "b"]).dictionary_encode(),
        "digits": pa.array(["1", "2", ""]),
        "nothing": pa.nulls(3),
        "y": pa.array([3, 1, 2], pa.int64()),
    }
    write_parquet(pa.table(columns), tmp_path / "t.parquet")
    table = read_table_file(tmp_path / "t.parquet", target="y", task="regression")
    assert values(table, "whole", "real", "yes") == [[1, 2, None], [0.5, None, 1], ["true", "false", None]]
    assert values(table, "word", "digits", "nothing") == [["a", None, "b"], [1, 2, None], [None] * 3]
    assert table["target"].to_pylist() == [3, 1, 2] and table["target"].type == pa.float64()
    labels = read_table_file(tmp_path / "t.parquet", target="whole")
    assert labels["target"].to_pylist() == ["1", "2", None]


def test_other_words_for_missing(tmp_path):
    path = written(tmp_path, "a,b,y\nnone,1,0\nx,-9,1\n")
    table = read_table_file(path, target="y", missing=["none", "-9"])
    assert values(table, "a", "b") == [[None, "x"], [1, None]]
    assert "NA" in MISSING and "none" not in MISSING


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (TEXT, {"target": "sick"}, "no column 'sick'; it has age, town, zip, ill"),
        (TEXT, {"target": "ill", "leave_out": ["x"]}, "no column 'x'"),
        (TEXT, {"target": "ill", "group": "x"}, "no column 'x'"),
        (TEXT, {"target": "ill", "columns": {"x": "category"}}, "no column 'x', whose type is set"),
        (TEXT, {"target": "ill", "columns": {"town": "numeric"}}, "'town' is set to numeric and holds text"),
        (TEXT, {"target": "ill", "task": "regression"}, "'ill' is text; a regression target is a number"),
        (TEXT, {"target": "ill", "leave_out": ["age", "town", "zip"]}, "no column is left beside the target"),
        ("a,a,y\n1,2,3\n", {"target": "y"}, "two columns are called 'a'"),
        ("a,y\n1,2\n1,2,3\n", {"target": "y"}, "not a readable CSV file"),
        ("a,y\ninf,2\n", {"target": "y"}, "column 'a', row 0: is infinite"),
        ("a,y\n", {"target": "y"}, "has no rows"),
        ("", {"target": "y"}, "not a readable CSV file"),
        ("a,d,y\n1,2020-01-01,0\n", {"target": "y"}, "'d' holds date32"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, text, settings, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_table_file(path, **settings)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_another_kind_or_none_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file; correct `path`"):
        read_table_file(tmp_path / "x.csv", target="y")
    with pytest.raises(InputError, match=r"ends in \.xlsx; give a \.csv or \.parquet file"):
        read_table_file(written(tmp_path, "x", "x.xlsx"), target="y")


def test_lines_can_be_skipped_and_columns_named():
    table = parse_csv(b"2 rows\n1 a\n2 b\n", "x", separator=" ", names=["n", "w"], skip=1)
    assert values(table, "n", "w") == [[1, 2], ["a", "b"]]


def test_tables_side_by_side_must_be_of_one_length():
    one, two = pa.table({"a": [1, 2]}), pa.table({"b": [3, 4]})
    assert paste({"one": one, "two": two}, "x").to_pydict() == {"a": [1, 2], "b": [3, 4]}
    with pytest.raises(InputError, match="two has 1 rows and one 2"):
        paste({"one": one, "two": two.slice(1)}, "x")


def test_classes_are_named_and_numbered_as_said():
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [1, 0, 1]})
    made = raw_table(table, source="s", target="y", classes={"1": "yes", "0": "no"})
    assert made["target"].to_pylist() == ["yes", "no", "yes"] and table_meta(made).classes == ("yes", "no")


def test_features_can_be_chosen_where_names_repeat():
    table = pa.table([pa.array([1, 2]), pa.array([3, 4]), pa.array(["a", "b"])], names=["x", "x", "y"])
    made = raw_table(table, source="s", target="y", features=["x"])
    assert made["x"].to_pylist() == [1, 2]
    assert np.isfinite(made["x"].to_numpy()).all()
