"""A CSV or parquet file of one's own as a raw table: nothing else to write."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from winnow.errors import InputError
from winnow.workloads.table_columns import MISSING, raw_table

SEPARATORS = ",;\t|"


def parse_csv(
    data: bytes,
    name: str,
    *,
    separator: str | None = None,
    names: Sequence[str] | None = None,
    skip: int = 0,
    texts: Sequence[str] = (),
    missing: Sequence[str] = MISSING,
) -> pa.Table:
    """The table of a CSV file; types are told from the values.

    separator: None takes the one of comma, semicolon, tab and bar that the first line holds most of. names: of the
    columns, where the file has no header. skip: lines before the first row or header. texts: columns whose values
    are text even where they look like numbers. missing: texts that stand for no value.
    Raises InputError, naming the file, for text that is no table.
    """
    if separator is None:
        first = data.split(b"\n", skip + 1)[skip].decode("utf-8", "replace") if data.count(b"\n") >= skip else ""
        separator = max(SEPARATORS, key=first.count)
    options: dict[str, Any] = {
        "read_options": pyarrow.csv.ReadOptions(column_names=list(names) if names else None, skip_rows=skip),
        "parse_options": pyarrow.csv.ParseOptions(delimiter=separator),
        "convert_options": pyarrow.csv.ConvertOptions(
            null_values=list(missing),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            column_types=dict.fromkeys(texts, pa.string()),
        ),
    }
    try:
        return pyarrow.csv.read_csv(io.BytesIO(data), **options)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not a readable CSV file ({str(error).splitlines()[0]}); correct it") from error


def read_table_file(path: Path | str, *, target: str, **settings: Any) -> pa.Table:
    """Raw table of a CSV (.csv, .tsv, .txt, with a header) or parquet file; see `raw_table` for the settings.

    Raises InputError for a file that is absent, of another kind, unreadable or empty, and what `raw_table` raises.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct `path`")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        from winnow.pipeline.tables import read_parquet

        table = read_parquet(path)
    elif suffix in (".csv", ".tsv", ".txt"):
        texts = [name for name, kind in (settings.get("columns") or {}).items() if kind != "numeric"]
        table = parse_csv(path.read_bytes(), str(path), texts=texts, missing=settings.get("missing", MISSING))
    else:
        raise InputError(f"{path}: ends in {suffix or 'nothing'}; give a .csv or .parquet file")
    if not table.num_rows:
        raise InputError(f"{path}: has no rows; there is nothing to learn from")
    return raw_table(table, source=path.name, target=target, where=str(path), **settings)


def paste(tables: Mapping[str, pa.Table], name: str) -> pa.Table:
    """Tables of equal length side by side; another length is an InputError naming the file."""
    first, *others = tables
    joined = tables[first]
    for other in others:
        if tables[other].num_rows != joined.num_rows:
            raise InputError(f"{name}: {other} has {tables[other].num_rows} rows and {first} {joined.num_rows}")
        for column in tables[other].schema.names:
            joined = joined.append_column(column, tables[other][column])
    return joined
