"""Tables on disk: one schema, the same bytes every time, bad files named in one line."""

import subprocess
import sys

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.pipeline.tables import (
    METRICS_SCHEMA,
    metric_rows,
    read_metrics,
    read_parquet,
    write_json,
    write_parquet,
)

LABELS = {"system": "s", "workload": "w", "variant": "v", "seed": 3, "split": "test"}


def test_metric_rows_have_the_schema_the_units_and_the_steps():
    table = metric_rows([("accuracy", 1, 5), ("own", None, None)], units={"own": "apples"}, **LABELS)
    assert table.schema == METRICS_SCHEMA
    assert table.to_pylist() == [
        {**LABELS, "metric": "accuracy", "value": 1.0, "unit": "share", "step": 5},
        {**LABELS, "metric": "own", "value": None, "unit": "apples", "step": None},
    ]


def test_a_chunked_table_is_written_to_the_bytes_of_a_whole_one(tmp_path):
    rows = [metric_rows({f"m{i}": i / 7}, **LABELS) for i in range(20)]
    write_parquet(pa.concat_tables(rows), tmp_path / "a.parquet", {"k": "v"})
    write_parquet(
        pa.Table.from_pylist(pa.concat_tables(rows).to_pylist(), METRICS_SCHEMA),
        tmp_path / "b.parquet",
        {"k": "v"},
    )
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert read_metrics([tmp_path / "a.parquet"]).num_rows == 20
    assert read_parquet(tmp_path / "a.parquet").schema.metadata == {b"k": b"v"}


def test_bytes_are_the_same_in_another_process(tmp_path):
    write_parquet(metric_rows({"a": 0.1}, **LABELS), tmp_path / "a.parquet")
    code = (
        "from winnow.pipeline.tables import *;"
        f"write_parquet(metric_rows({{'a': 0.1}}, **{LABELS!r}), {str(tmp_path / 'b.parquet')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "not a readable parquet"), (b"PAR1junkPAR1", "not a readable parquet")],
)
def test_a_bad_file_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_parquet(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_file_and_a_missing_column_are_named(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(metric_rows({"a": 1}, **LABELS), path)
    with pytest.raises(InputError, match="no column 'pixels'; it has system"):
        read_parquet(path, ["pixels"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a readable parquet"):
        read_parquet(path)


def test_a_table_of_another_schema_is_no_metrics_table(tmp_path):
    write_parquet(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="not a metrics table; its columns are a"):
        read_metrics([tmp_path / "x.parquet"])


def test_json_is_sorted_and_refuses_what_is_no_number(tmp_path):
    write_json({"b": 1, "a": "é"}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == '{\n "a": "é",\n "b": 1\n}\n'
    with pytest.raises(ValueError):
        write_json({"a": float("nan")}, tmp_path / "b.json")
