"""Rows in passing are those of the whole table, and row groups have the bytes of a table written at once."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.pipeline.streams import count_rows, read_rows, write_row_groups
from winnow.pipeline.tables import read_parquet, write_parquet

TABLE = pa.table({"row": range(300), "text": pa.array([f"text {i}" * (i % 9) for i in range(300)], pa.large_string())})


@pytest.fixture(scope="module", params=[300, 100, 37])
def stored(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "table.parquet"
    pq.write_table(TABLE.replace_schema_metadata({"k": "v"}), path, row_group_size=request.param)
    return path


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_range_of_rows_is_that_of_the_table(stored, first, last):
    tables = list(read_rows(stored, first, last))
    found = pa.concat_tables(tables).replace_schema_metadata(None).combine_chunks()
    assert found.equals(TABLE.slice(first, max(last - first, 0)).combine_chunks())
    assert all(0 < table.num_rows <= 64 for table in tables) or len(tables) == 1


def test_row_groups_outside_of_the_range_are_not_read(stored, monkeypatch):
    asked, iterate = [], pq.ParquetFile.iter_batches

    def noted(self, *arguments, row_groups, **options):
        asked.extend(row_groups)
        return iterate(self, *arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    list(read_rows(stored, 100, 200))
    file = pq.ParquetFile(stored)
    size = file.metadata.row_group(0).num_rows
    assert asked == [g for g in range(file.num_row_groups) if g * size < 200 and (g + 1) * size > 100]


def test_rows_are_counted_and_bad_files_named(stored, tmp_path):
    assert count_rows(stored) == 300
    (tmp_path / "cut.parquet").write_bytes(stored.read_bytes()[:-50])
    spoilt = bytearray(stored.read_bytes())
    spoilt[40:600] = bytes(560)  # pages, not the footer
    (tmp_path / "spoilt.parquet").write_bytes(spoilt)
    with pytest.raises(InputError, match=r"absent\.parquet: no such file"):
        count_rows(tmp_path / "absent.parquet")
    for read in (count_rows, lambda path: list(read_rows(path, 0, 1))):
        with pytest.raises(InputError, match=r"cut\.parquet: not a readable parquet file \(.*; delete it"):
            read(tmp_path / "cut.parquet")
    with pytest.raises(InputError, match=r"spoilt\.parquet: not a readable parquet file") as caught:
        list(read_rows(tmp_path / "spoilt.parquet", 0, 300))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("rows", [0, 1, 300])
@pytest.mark.parametrize("metadata", [None, {"k": "v"}])
def test_a_single_table_has_the_bytes_of_one_written_at_once(tmp_path, rows, metadata):
    table = TABLE.slice(0, rows)
    write_parquet(table, tmp_path / "expected.parquet", metadata)
    chunks = pa.concat_tables([table.slice(0, 100), table.slice(100)])
    write_row_groups(iter([chunks]), tmp_path / "found.parquet", TABLE.schema, metadata)
    assert (tmp_path / "found.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()


def test_each_table_with_rows_is_a_row_group(tmp_path):
    parts = [TABLE.slice(0, 0), TABLE.slice(0, 10), TABLE.slice(10, 0), TABLE.slice(10)]
    write_row_groups(iter(parts), tmp_path / "found.parquet", TABLE.schema)
    assert read_parquet(tmp_path / "found.parquet").equals(TABLE)
    metadata = pq.ParquetFile(tmp_path / "found.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [10, 290]
    write_row_groups([], tmp_path / "none.parquet", TABLE.schema, {"k": "v"})
    write_parquet(TABLE.slice(0, 0), tmp_path / "empty.parquet", {"k": "v"})
    assert (tmp_path / "none.parquet").read_bytes() == (tmp_path / "empty.parquet").read_bytes()
