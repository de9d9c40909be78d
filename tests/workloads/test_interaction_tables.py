"""A file of events becomes a raw table with the values that stand in it."""

import datetime

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads.interaction_tables import (
    InteractionMeta,
    interaction_meta,
    raw_events,
    raw_items,
    read_event_file,
    read_item_file,
)

LOG = "user,item,timestamp,rating\n007,a,10,4\n007,b,11.5,\n12,a,9,1\n"


def written(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_users_and_items_are_texts_and_times_numbers(tmp_path):
    table = read_event_file(written(tmp_path, LOG))
    assert table.schema.names == ["row", "source", "user", "item", "rating", "time"]
    assert table.to_pylist()[1] == {
        "row": 1, "source": "log.csv", "user": "007", "item": "b", "rating": None, "time": 11.5
    }  # fmt: skip
    assert table["user"].to_pylist() == ["007", "007", "12"]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_names_separators_and_headers_with_types(tmp_path, separator):
    text = LOG.replace("user,item", "who:token,what:token").replace("timestamp", "at:float").replace("rating", "stars")
    columns = {"user": "who", "item": "what", "time": "at", "rating": "stars"}
    table = read_event_file(written(tmp_path, text.replace(",", separator), "log.tsv"), columns)
    assert table.column("item").to_pylist() == ["a", "b", "a"]
    assert table["rating"].to_pylist() == [4, None, 1]


def test_dates_are_seconds_since_1970_to_the_microsecond(tmp_path):
    text = "user,item,time\na,x,1970-01-02 00:00:01\na,y,1970-01-01 00:00:00\n"
    assert read_event_file(written(tmp_path, text))["time"].to_pylist() == [86401.0, 0.0]
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.UTC)
    table = pa.table({"user": ["a"], "item": ["x"], "time": pa.array([moment], pa.timestamp("ns", "UTC"))})
    assert raw_events(table, "s", None, "w")["time"].to_pylist() == [moment.timestamp()]
    day = pa.table({"user": ["a"], "item": ["x"], "time": pa.array([datetime.date(1970, 1, 3)])})
    assert raw_events(day, "s", None, "w")["time"].to_pylist() == [172800.0]


def test_a_parquet_file_may_hold_numbers_and_categories_as_names(tmp_path):
    table = pa.table(
        {
            "user_id": [3.0, float("nan"), 4.5],
            "item_id": pa.array(["x", "", "y"]).dictionary_encode(),
            "time": [1, 2, 3],
        }
    )
    write_parquet(table, tmp_path / "log.parquet")
    found = read_event_file(tmp_path / "log.parquet")
    assert found["user"].to_pylist() == ["3", None, "4.5"] and found["item"].to_pylist() == ["x", None, "y"]
    assert found["rating"].null_count == 3


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("user,item,time\n", None, "has no rows"),
        ("user,thing,time\na,b,1\n", None, "no column 'item'; it has user, thing, time: name the one of the item"),
        ("user,item,time\na,b,1\n", {"rating": "stars"}, "no column 'stars'"),
        ("user,item,time\na,b,soon\n", None, "column 'time' holds text; give numbers, or dates such as"),
        ("user,item,time,rating\na,b,1,good\n", None, "column 'rating' holds string; it must hold numbers"),
        ("user,item,time\na,b\n", None, "not a readable CSV"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, text, columns, expected):
    with pytest.raises(InputError) as caught:
        read_event_file(written(tmp_path, text), columns)
    assert expected in str(caught.value) and "log.csv" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.csv: no such file"):
        read_event_file(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"ends in .json; give a .csv or .parquet file"):
        read_event_file(written(tmp_path, "{}", "log.json"))


def test_items_have_titles_years_genres_and_every_other_column_as_property(tmp_path):
    text = "item,title,year,genre,artist\n01,One,1999,rock|pop,A|B\n2,,late,,\n"
    assert read_item_file(written(tmp_path, text)).to_pylist() == [
        {
            "item": "01",
            "title": "One",
            "year": 1999,
            "genres": ["rock", "pop"],
            "properties": ["artist: A", "artist: B"],
        },
        {"item": "2", "title": "2", "year": None, "genres": [], "properties": []},
    ]


def test_items_need_no_more_than_a_name():
    assert raw_items(pa.table({"item": [5]}), None, "w").to_pylist()[0]["title"] == "5"


def test_an_item_stands_once_and_has_a_name():
    with pytest.raises(InputError, match="w: item 'b' stands twice"):
        raw_items(pa.table({"item": ["a", "b", "b"]}), None, "w")
    with pytest.raises(InputError, match="w: row 1 names no item"):
        raw_items(pa.table({"item": ["a", ""]}), None, "w")


def test_what_more_is_known_comes_after_the_columns():
    table = pa.table({"item": ["a", "b"], "maker": ["m", "n"]})
    found = raw_items(table, None, "w", more={"b": ["kind: k"]})["properties"].to_pylist()
    assert found == [["maker: m"], ["maker: n", "kind: k"]]


def test_the_metadata_come_back_and_foreign_ones_are_refused():
    meta = InteractionMeta(["", "Ein Film", "二"], 7, "films")
    table = pa.table({"x": [1]}).replace_schema_metadata(meta.encode())
    assert interaction_meta(table, "t") == meta
    for other in (None, {"winnow": "{"}, {"winnow": '{"kind": "text"}'}):
        with pytest.raises(InputError, match="t: is no table of curated events"):
            interaction_meta(pa.table({"x": [1]}).replace_schema_metadata(other), "t")
