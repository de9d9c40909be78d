"""Tables that are read and written some rows at a time, to the bytes that `winnow.pipeline.tables` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet

BATCH = 64


def count_rows(path: Path | str) -> int:
    """Rows of a parquet file; a bad one is an InputError, as `read_parquet` raises it."""
    read_parquet(path, [])
    return int(pq.ParquetFile(path).metadata.num_rows)


def read_rows(path: Path | str, first: int, last: int) -> Iterator[pa.Table]:
    """Rows first to last - 1 of a parquet file, 64 at most at a time; a bad file is an InputError.

    Row groups outside are not read, and of one no more than some pages at a time. Where no row is asked for there is
    one table, without rows.
    """
    read_parquet(path, [])
    start, found = 0, False
    try:
        file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            batches = file.iter_batches(BATCH, row_groups=[group]) if start < last and end > first else ()
            for batch in batches:
                a, b = max(first - start, 0), min(last - start, batch.num_rows)
                if a < b:
                    yield pa.Table.from_batches([batch.slice(a, b - a)])
                    found = True
                start += batch.num_rows
            start = end
        if not found:
            yield file.schema_arrow.empty_table()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: not a readable parquet file ({reason}); delete it and run its stage again"
        ) from error


def write_row_groups(
    tables: Iterable[pa.Table], path: Path | str, schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tables of one schema as one file, a row group for each that has rows.

    A single table gets the bytes that `write_parquet` gives it.
    """
    schema, empty = schema.with_metadata(dict(metadata)) if metadata else schema.remove_metadata(), True
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, store_schema=True) as writer:
        for table in tables:
            if table.num_rows:
                table = table.replace_schema_metadata(schema.metadata).combine_chunks()
                writer.write_table(table, row_group_size=table.num_rows)
                empty = False
        if empty:
            writer.write_table(schema.empty_table())
